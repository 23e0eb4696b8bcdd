use super::*;
use crate::rig::Rig;

/// Whoever asks while a sample is being taken gets the next one: this one began before the question.
#[tokio::test(start_paused = true)]
async fn a_sample_begins_after_its_question() {
    // A worker is silent, so that a sample takes its time.
    let rig = Rig::start(true).await;
    let sampler = rig.state.sampler.clone();
    let asked = sampler.clone();
    let first = tokio::spawn(async move { asked.ask().await.unwrap() });
    let is_taken = |state: MutexGuard<'_, State>| state.running && state.waiting.is_empty();
    while !is_taken(sampler.0.lock()) {
        tokio::task::yield_now().await;
    }
    let second = sampler.ask().await.unwrap();
    assert!(!Arc::ptr_eq(&first.await.unwrap(), &second));
}
