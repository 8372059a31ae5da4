//! Figures as a table in Markdown, ready for the benches' README.

/// A table, printed when it is complete.
#[derive(Debug)]
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// A table with these headings.
    #[must_use]
    pub fn new(headings: &[&str]) -> Self {
        let rule = "|---".repeat(headings.len());
        Self { columns: headings.len(), text: format!("| {} |\n{rule}|\n", headings.join(" | ")) }
    }

    /// Adds a row; cells that are missing are empty.
    pub fn row(&mut self, cells: &[String]) {
        let empty = std::iter::repeat_n(String::new(), self.columns.saturating_sub(cells.len()));
        let cells: Vec<String> = cells.iter().cloned().chain(empty).collect();
        self.text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }

    /// Prints it under a title.
    pub fn print(&self, title: &str) {
        say(&format!("\n{title}, {} build\n\n{}", super::profile(), self.text));
    }
}

/// Prints a line for whoever waits.
#[expect(clippy::print_stdout, reason = "what a bench is run for")]
pub fn say(text: &str) {
    println!("{text}");
}
