use std::{io::Write, thread};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);

fn pair() -> (Channel, Channel) {
    let (here, there) = UnixStream::pair().unwrap();
    let (peer, here) = peer::of(here).unwrap();
    (Channel::new(here, peer.user).unwrap(), Channel::new(there, peer.user).unwrap())
}

/// A message that is longer than the socket's buffer, with descriptors.
#[test]
fn long_messages_cross_whole() {
    let (here, there) = pair();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| number as u8).collect();
    let told = bytes.clone();
    let teller = thread::spawn(move || {
        let socket = here.socket();
        here.say_with(&Message::Held { batch: 4 }, &told, &[socket; 253], LIMIT).unwrap();
        here.say(&Message::Ready, LIMIT).unwrap();
        here.hear(LIMIT).unwrap_err()
    });
    let heard = there.hear(LIMIT).unwrap();
    assert_eq!((heard.message, heard.descriptors.len()), (Message::Held { batch: 4 }, 253));
    assert!(heard.bytes == bytes);
    assert_eq!(there.hear(LIMIT).unwrap().message, Message::Ready);
    drop((heard.descriptors, there));
    assert!(matches!(teller.join().unwrap(), ChannelError::Ended));
}

#[test]
fn silence_has_a_limit() {
    let (here, _there) = pair();
    let limit = Duration::from_millis(20);
    assert!(matches!(here.hear(limit), Err(ChannelError::Silent(_))));
}

/// Who stops in the middle of a word is not waited for again: the rest would be taken for another word's beginning. And
/// who goes in the middle of one has not gone as one goes that has died.
#[test]
fn half_a_word_is_no_silence_and_no_end() {
    for length in [1, HEADER, HEADER + 3] {
        let (here, there) = pair();
        let frame = frame::encode(&Message::Ready, &[], 0).unwrap();
        (&there.stream).write_all(&frame[..length]).unwrap();
        assert!(matches!(here.hear(Duration::from_millis(20)), Err(ChannelError::Torn)), "{length}");
        (&there.stream).write_all(&frame[..length]).unwrap();
        drop(there);
        assert!(matches!(here.hear(LIMIT), Err(ChannelError::Torn)), "{length}");
    }
}

/// Who cannot say something to the end says nothing more, and the other side hears that it was not the end.
#[test]
fn after_half_a_word_nothing_is_said() {
    let (here, there) = pair();
    let limit = Duration::from_millis(20);
    let said = here.say_with(&Message::Ready, &vec![0; 3_000_000], &[], limit);
    assert!(matches!(said, Err(ChannelError::Silent(_))), "{said:?}");
    assert!(matches!(here.say(&Message::Finished, limit), Err(ChannelError::Ended)));
    assert!(matches!(there.hear(LIMIT), Err(ChannelError::Torn)));
}

#[test]
fn garbage_is_refused() {
    let (here, there) = pair();
    (&there.stream).write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    assert!(matches!(here.hear(LIMIT), Err(ChannelError::Frame(FrameError::Magic))));
}

#[test]
fn strangers_are_refused() {
    let (here, _there) = UnixStream::pair().unwrap();
    let (peer, here) = peer::of(here).unwrap();
    let refused = Channel::new(here, peer.user.wrapping_add(1));
    // Root is let in everywhere, and a test may run as root.
    assert_eq!(refused.is_err(), peer.user != 0);
}

#[test]
fn the_process_at_the_other_end_is_known() {
    let (here, _there) = pair();
    assert_eq!(here.process(), Some(std::process::id()));
}
