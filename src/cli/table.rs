//! Tables for people: columns as wide as their widest cell, or as the terminal lets them be.

use super::clean::{self, is_hidden};
use super::style::Colour;

/// Columns of text are not made narrower than this.
const COLUMN_MIN: usize = 6;
/// Blanks between columns.
const GAP: usize = 2;

/// Rows of a table, which are gone through twice: once for the columns' widths.
pub(super) trait Rows {
    /// Hands over every row.
    fn each(&self, take: &mut dyn FnMut(&[String]));
}

impl Rows for Vec<Vec<String>> {
    fn each(&self, take: &mut dyn FnMut(&[String])) {
        self.iter().for_each(|row| take(row));
    }
}

/// Rows that are made when they are wanted: a list of a million tables is never in memory.
pub(super) struct Made<F>(pub F);

impl<F: Fn() -> I, I: Iterator<Item = Vec<String>>> Rows for Made<F> {
    fn each(&self, take: &mut dyn FnMut(&[String])) {
        (self.0)().for_each(|row| take(&row));
    }
}

/// Rows below titles.
pub(super) struct Table<'a> {
    /// One a column.
    pub titles: &'a [&'a str],
    /// Columns that stand to the right: numbers. They are never shortened.
    pub right: &'a [usize],
    /// The cells.
    pub rows: &'a dyn Rows,
    /// Other columns that are never shortened.
    pub fixed: &'a [usize],
    /// The colour of the cell in a row and a column.
    pub colour: Option<&'a dyn Fn(usize, usize) -> Option<Colour>>,
}

impl<'a> Table<'a> {
    /// Without colours.
    pub(super) fn new(titles: &'a [&'a str], right: &'a [usize], rows: &'a dyn Rows) -> Self {
        Self { titles, right, rows, fixed: &[], colour: None }
    }

    /// The lines, none longer than `columns` where that can be; in colours where they are wanted.
    pub(super) fn lines(&self, columns: Option<usize>, in_colour: bool) -> String {
        let mut lines = Vec::new();
        self.each_line(columns, in_colour, &mut |line| lines.push(line));
        lines.join("\n")
    }

    /// The same, one after the other.
    pub(super) fn each_line(&self, columns: Option<usize>, in_colour: bool, tell: &mut dyn FnMut(String)) {
        // A name may hold a line end, and a cell is one line.
        let one_line = |cell: &String| clean::line(cell).into_owned();
        let mut widths: Vec<usize> = self.titles.iter().map(|title| columns_of(title)).collect();
        self.rows.each(&mut |row| {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(columns_of(&clean::line(cell)));
            }
        });
        if let Some(columns) = columns {
            self.narrow(&mut widths, columns);
        }
        let titles: Vec<String> = self.titles.iter().map(|title| (*title).to_owned()).collect();
        tell(self.line(&titles, &widths, &|_| None));
        let mut at = 0;
        self.rows.each(&mut |row| {
            let row: Vec<String> = row.iter().map(one_line).collect();
            let colour = |column| self.colour.filter(|_| in_colour).and_then(|colour| colour(at, column));
            tell(self.line(&row, &widths, &colour));
            at += 1;
        });
    }

    fn line(&self, row: &[String], widths: &[usize], colour: &dyn Fn(usize) -> Option<Colour>) -> String {
        let mut line = String::new();
        // Blanks are owed until something follows them.
        let mut owed = 0;
        for (at, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = shorten(cell, *width);
            let blanks = width.saturating_sub(columns_of(&cell));
            let (before, behind) = if self.right.contains(&at) { (blanks, 0) } else { (0, blanks) };
            owed += before;
            if !cell.is_empty() {
                line.extend(std::iter::repeat_n(' ', owed));
                owed = 0;
                match colour(at) {
                    Some(colour) => line += &colour.paint(&cell),
                    None => line += &cell,
                }
            }
            owed += behind + GAP;
        }
        line.truncate(line.trim_end().len());
        line
    }

    /// Takes from the widest column of text until all fit, or none can be narrower.
    fn narrow(&self, widths: &mut [usize], columns: usize) {
        let gaps = GAP * widths.len().saturating_sub(1);
        let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
        while over > 0 {
            let is_text = |at: usize| !self.right.contains(&at) && !self.fixed.contains(&at);
            let text =
                widths.iter_mut().enumerate().filter(|(at, width)| is_text(*at) && **width > COLUMN_MIN);
            let Some((_, widest)) = text.max_by_key(|(_, width)| **width) else { return };
            *widest -= 1;
            over -= 1;
        }
    }
}

/// The text, or as much of it as fits into so many columns with an ellipsis.
pub(super) fn shorten(text: &str, columns: usize) -> String {
    if columns_of(text) <= columns {
        return text.to_owned();
    }
    let (mut short, mut used) = (String::new(), 1);
    for c in text.chars() {
        used += columns_of_char(c);
        if used > columns {
            break;
        }
        short.push(c);
    }
    short.push('…');
    short
}

/// Columns that a terminal takes for the text.
fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

/// East Asian letters and most pictures take two columns (Unicode Standard Annex 11), roughly.
fn columns_of_char(c: char) -> usize {
    match c {
        c if is_hidden(c) => 0,
        '\u{300}'..='\u{36f}' => 0,
        '\u{1100}'..='\u{115e}'
        | '\u{2e80}'..='\u{303e}'
        | '\u{3041}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff01}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f300}'..='\u{1f64f}'
        | '\u{1f680}'..='\u{1f9ff}'
        | '\u{20000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Vec<String>> {
        rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect()
    }

    #[test]
    fn tables_line_up() {
        let rows = rows(&[&["a", "1"], &["bbb", "22"]]);
        assert_eq!(
            Table::new(&["NAME", "N"], &[1], &rows).lines(None, false),
            "NAME   N\na      1\nbbb   22"
        );
    }

    #[test]
    fn a_name_with_line_ends_and_control_characters_stays_in_its_line() {
        let rows = rows(&[&["a\nb\u{1b}[0m\u{202e}", "1"]]);
        assert_eq!(Table::new(&["NAME", "N"], &[1], &rows).lines(None, true), "NAME      N\na?b?[0m?  1");
    }

    #[test]
    fn what_is_too_wide_for_the_terminal_loses_text_and_no_number() {
        let long = "a series with a very long name indeed";
        let rows = rows(&[&["1a2b3c4d", long, "a-host-name", "123.45 MiB"]]);
        let table = Table { fixed: &[0], ..Table::new(&["ID", "SERIES", "HOST", "SIZE"], &[3], &rows) };
        let lines = table.lines(Some(50), false);
        assert!(lines.lines().all(|line| columns_of(line) <= 50), "{lines}");
        assert!(
            lines.contains("1a2b3c4d  a series with") && lines.contains("…  a-host-name  123.45 MiB"),
            "{lines}"
        );
        assert_eq!(table.lines(Some(200), false), table.lines(None, false));
        let narrowest = table.lines(Some(1), false);
        assert!(narrowest.contains("1a2b3c4d  a ser…  a-hos…  123.45 MiB"), "{narrowest}");
    }

    #[test]
    fn wide_letters_count_twice_and_colours_not_at_all() {
        assert_eq!(columns_of("日本"), 4);
        assert_eq!(shorten("日本語", 5), "日本…");
        assert_eq!(shorten("app", 3), "app");
        let rows = rows(&[&["日本", "suspect"], &["app", "complete"]]);
        let colour = |row: usize, column: usize| (row == 0 && column == 1).then_some(Colour::Yellow);
        let table = Table { colour: Some(&colour), ..Table::new(&["SERIES", "STATE"], &[], &rows) };
        let painted = "SERIES  STATE\n日本    \u{1b}[33msuspect\u{1b}[0m\napp     complete";
        assert_eq!(table.lines(None, true), painted);
        assert_eq!(table.lines(None, false), "SERIES  STATE\n日本    suspect\napp     complete");
    }
}
