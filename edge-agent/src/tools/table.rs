//! Aligned tables for people. Colour only where a terminal shows it.

use std::io::Write;

/// Whether colours are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Colour,
}

impl Paint {
    pub(crate) const fn for_terminal(is_terminal: bool) -> Self {
        if is_terminal { Self::Colour } else { Self::Plain }
    }

    /// The text, in the colour of its tone.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        match (self, tone.code()) {
            (Self::Colour, Some(code)) => format!("\x1b[{code}m{text}\x1b[0m"),
            (Self::Colour, None) | (Self::Plain, _) => text.to_owned(),
        }
    }
}

/// What a text means to the eye.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Heading,
    Good,
    Warning,
    Bad,
}

impl Tone {
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Heading => Some("1"),
            Self::Good => Some("32"),
            Self::Warning => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

/// One cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl<T: ToString> From<T> for Cell {
    fn from(value: T) -> Self {
        Self { text: value.to_string(), tone: Tone::Plain }
    }
}

impl Cell {
    pub(crate) fn toned(tone: Tone, text: impl ToString) -> Self {
        Self { text: text.to_string(), tone }
    }
}

/// A table. A header that begins with `>` makes its column flush right.
pub(crate) struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(crate) fn new(headers: &[&'static str]) -> Self {
        Self { headers: headers.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub(crate) fn write(&self, out: &mut dyn Write, paint: Paint) -> std::io::Result<()> {
        let widths: Vec<usize> = (0..self.headers.len()).map(|column| self.width(column)).collect();
        let head: Vec<Cell> =
            self.headers.iter().map(|h| Cell::toned(Tone::Heading, h.trim_start_matches('>'))).collect();
        for row in std::iter::once(&head).chain(&self.rows) {
            writeln!(out, "{}", self.line(row, &widths, paint))?;
        }
        Ok(())
    }

    fn width(&self, column: usize) -> usize {
        let head = self.headers[column].trim_start_matches('>').chars().count();
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|c| c.text.chars().count());
        cells.max().unwrap_or(0).max(head)
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let last = widths.len().saturating_sub(1);
        let cell = |(column, (cell, width)): (usize, (&Cell, &usize))| {
            let blanks = " ".repeat(width.saturating_sub(cell.text.chars().count()));
            let text = paint.text(cell.tone, &cell.text);
            match (self.headers[column].starts_with('>'), column == last) {
                (true, _) => format!("{blanks}{text}"),
                (false, true) => text,
                (false, false) => format!("{text}{blanks}"),
            }
        };
        row.iter().zip(widths).enumerate().map(cell).collect::<Vec<_>>().join("  ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(paint: Paint) -> String {
        let mut table = Table::new(&["tag", ">value", "quality"]);
        table.row(["speed".into(), 7.5.into(), Cell::toned(Tone::Bad, "Bad")]);
        table.row(["öl".into(), 1000.into(), "Good".into()]);
        let mut out = Vec::new();
        table.write(&mut out, paint).expect("memory");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn columns_are_aligned_by_characters_and_numbers_flush_right() {
        assert_eq!(written(Paint::Plain), "tag    value  quality\nspeed    7.5  Bad\nöl      1000  Good\n");
    }

    #[test]
    fn colour_changes_no_width() {
        let coloured = written(Paint::Colour);
        assert!(coloured.contains("\x1b[31mBad\x1b[0m"), "{coloured:?}");
        assert!(coloured.contains("öl      1000  Good"), "{coloured:?}");
    }
}
