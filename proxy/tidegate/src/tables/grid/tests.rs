use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
    let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), String::new()]];
    assert_eq!(table(&["X", "Y"], rows.into_iter()), "X       Y\na       b\nlonger\n");
}

#[test]
fn what_is_said_of_a_row_stands_beside_it_and_fits() {
    let row = Row { above: "over it".to_owned(), cells: vec!["a".to_owned()], below: "word ".repeat(20) };
    let text = noted(&["X"], [row, Row { cells: vec!["b".to_owned()], ..Row::default() }].into_iter());
    let words = |count| format!("  {}", ["word"; 20][..count].join(" "));
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines, ["X", "over it", "a", &words(15), &words(5), "b"]);
}

#[test]
fn lines_are_broken_between_words_and_words_where_they_are_too_long() {
    assert_eq!(wrap("one two three", 7, "  "), ["one two", "  three"]);
    assert_eq!(wrap("one two three", 7, ""), ["one two", "three"]);
    assert_eq!(wrap("onetwothree four", 7, "  "), ["onetwot", "  hree", "  four"]);
    assert_eq!(wrap("", 7, "  "), [""]);
}
