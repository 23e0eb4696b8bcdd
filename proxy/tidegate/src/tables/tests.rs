use super::*;

#[test]
fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces() {
    let rows = [vec!["a".to_owned(), "b".to_owned()], vec!["longer".to_owned(), String::new()]];
    assert_eq!(table(&["X", "Y"], rows.into_iter()), "X       Y\na       b\nlonger\n");
}

#[test]
fn time_spans_have_the_unit_that_fits() {
    assert_eq!([0.25, 59.6, 300.0, 9_000.0, 400_000.0].map(seconds), ["0.2s", "60s", "5m", "2h", "5d"]);
}
