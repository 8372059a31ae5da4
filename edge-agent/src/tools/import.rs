//! `edge-agent import`: a tag list from a spreadsheet becomes `[[tags]]` of a machine file.
//!
//! The first row names the columns, which are the keys of a tag in the configuration, in any order; an
//! empty cell is a key that is not given. The machine file is only written if it is good with the new
//! tags in it: the configuration's own reader judges it, and what it finds in a new tag is told with
//! the row of the list.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use edge_config::{ConfigErrors, Problem};

use super::Found;
use super::tag_list::{Row, TagList, read_text};
use crate::cli::ImportArguments;

/// How the text of a cell is written in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
}

const COLUMNS: [(&str, Kind); 18] = [
    ("id", Kind::Text),
    ("name", Kind::Text),
    ("unit", Kind::Text),
    ("data_type", Kind::Text),
    ("role", Kind::Text),
    ("holding_register", Kind::Whole),
    ("input_register", Kind::Whole),
    ("coil", Kind::Whole),
    ("discrete_input", Kind::Whole),
    ("format", Kind::Text),
    ("bit", Kind::Whole),
    ("byte", Kind::Text),
    ("registers", Kind::Whole),
    ("word_order", Kind::Text),
    ("scale", Kind::Number),
    ("offset", Kind::Number),
    ("poll_interval_ms", Kind::Whole),
    ("node_id", Kind::Text),
];

pub(crate) fn run(arguments: &ImportArguments) -> Result<Found> {
    let list = TagList::read(&arguments.list, arguments.sheet.as_deref())?;
    let machine = read_text(&arguments.machine)?;
    let imported = import(&list, &arguments.machine, &machine)?;
    if arguments.dry_run {
        print(&imported.toml);
        return Ok(Found::Something);
    }
    let draft = arguments.machine.with_extension("toml.draft");
    std::fs::write(&draft, imported.file)
        .and_then(|()| std::fs::rename(&draft, &arguments.machine))
        .with_context(|| format!("cannot write {}", arguments.machine.display()))?;
    print(&format!(
        "{} tags of {} added to {}; next: edge-agent check\n",
        imported.tags,
        list.place.display(),
        arguments.machine.display()
    ));
    Ok(Found::Something)
}

#[expect(clippy::print_stdout, reason = "the result of a command line tool")]
fn print(text: &str) {
    print!("{text}");
}

#[derive(Debug)]
struct Imported {
    tags: usize,
    /// The new tags.
    toml: String,
    /// The machine file with them.
    file: String,
}

/// New tags as TOML, with the line of the list that each line of TOML comes from.
#[derive(Default)]
struct Draft {
    toml: String,
    lines: Vec<usize>,
    tags: usize,
    problems: Vec<Problem>,
}

fn import(list: &TagList, machine_path: &Path, machine: &str) -> Result<Imported, ConfigErrors> {
    let draft = Draft::of(list);
    if !draft.problems.is_empty() {
        return Err(ConfigErrors(draft.problems));
    }
    let before = format!("{}\n", machine.trim_end());
    let file = format!("{before}{}", draft.toml);
    let offset = before.lines().count();
    edge_config::read_machine(machine_path, &file).map_err(|errors| {
        let place = |problem: Problem| match problem.line.and_then(|line| line.checked_sub(offset + 1)) {
            None => problem,
            Some(line) => {
                Problem { file: list.place.clone(), line: draft.lines.get(line).copied(), ..problem }
            }
        };
        ConfigErrors(errors.0.into_iter().map(place).collect())
    })?;
    Ok(Imported { tags: draft.tags, toml: draft.toml, file })
}

type Column = (&'static str, Kind);

fn columns(place: &Path, header: &Row, problems: &mut Vec<Problem>) -> Vec<Option<Column>> {
    let mut found: Vec<Option<Column>> = Vec::new();
    let mut add = |name: &str, message: String| {
        problems.push(problem(place, header.number, name, "", message));
    };
    for name in &header.cells {
        let name = match name {
            // A column without a name is for its author.
            Ok(name) if name.is_empty() => {
                found.push(None);
                continue;
            }
            Ok(name) => name,
            Err(message) => {
                add("", message.clone());
                continue;
            }
        };
        let column = COLUMNS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if column.is_none() {
            let known = COLUMNS.map(|(known, _)| known).join(", ");
            add(name, format!("this column is not known; known are {known}"));
        } else if found.contains(&column) {
            add(name, "this column is there twice; keep one".to_owned());
        }
        found.push(column);
    }
    found
}

fn problem(path: &Path, line: usize, key: &str, value: &str, message: String) -> Problem {
    Problem {
        file: path.to_owned(),
        line: Some(line),
        key: key.to_owned(),
        value: value.chars().take(80).collect(),
        message,
    }
}

impl Draft {
    fn of(list: &TagList) -> Self {
        let mut draft = Self::default();
        let Some((header, rows)) = list.rows.split_first() else {
            draft.problems.push(problem(&list.place, 1, "", "", "it is empty".to_owned()));
            return draft;
        };
        let columns = columns(&list.place, header, &mut draft.problems);
        for row in rows {
            draft.add(list, row, &columns);
        }
        if draft.tags == 0 && draft.problems.is_empty() {
            let message = "there is no tag under the header".to_owned();
            draft.problems.push(problem(&list.place, header.number, "", "", message));
        }
        draft
    }

    fn add(&mut self, list: &TagList, row: &Row, columns: &[Option<Column>]) {
        if let Some(message) = &row.problem {
            self.problems.push(problem(&list.place, row.number, "", "", message.clone()));
            return;
        }
        if row.cells.iter().all(|cell| cell.as_ref().is_ok_and(String::is_empty)) {
            return;
        }
        self.push(row.number, format_args!("\n[[tags]]"));
        self.tags += 1;
        for (cell, column) in row.cells.iter().zip(columns) {
            let Some((key, kind)) = column else { continue };
            let value = match cell {
                Ok(text) if text.is_empty() => continue,
                Ok(text) => toml_value(text, *kind, list.decimal_comma).map_err(str::to_owned),
                Err(message) => Err(message.clone()),
            };
            match value {
                Ok(value) => self.push(row.number, format_args!("{key} = {value}")),
                Err(message) => {
                    let written = cell.as_deref().unwrap_or_default();
                    self.problems.push(problem(&list.place, row.number, key, written, message));
                }
            }
        }
    }

    fn push(&mut self, line: usize, text: std::fmt::Arguments<'_>) {
        let before = self.toml.len();
        writeln!(self.toml, "{text}").expect("a String takes everything");
        let lines = self.toml[before..].lines().count();
        self.lines.extend(std::iter::repeat_n(line, lines));
    }
}

fn toml_value(cell: &str, kind: Kind, decimal_comma: bool) -> Result<String, &'static str> {
    match kind {
        // One line, whatever the spreadsheet had in the cell.
        Kind::Text => serde_json::to_string(&cell.split_whitespace().collect::<Vec<_>>().join(" "))
            .map_err(|_| "cannot be written as a text"),
        Kind::Whole => cell.parse::<i64>().map(|n| n.to_string()).map_err(|_| "a whole number is needed"),
        Kind::Number => {
            let point = if decimal_comma { cell.replace(',', ".") } else { cell.to_owned() };
            let number: f64 = point.parse().map_err(|_| "a number is needed")?;
            if number.is_finite() { Ok(format!("{number:?}")) } else { Err("a finite number is needed") }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = "version = 1\nid = \"press\"\n[modbus_tcp]\nhost = \"10.0.0.1\"\n";

    fn imported(list: &str) -> Result<Imported, String> {
        let list = TagList::csv(Path::new("tags.csv"), list);
        import(&list, Path::new("press.toml"), MACHINE).map_err(|e| e.to_string())
    }

    #[test]
    fn a_list_becomes_tags_that_the_configuration_accepts() {
        let list = "id,name,unit,data_type,holding_register,format,scale,bit\n\
                    oil,\"Oil, hot \"\"side\"\"\",Cel,float,0,i16,0.1,\n\
                    \n\
                    pump,,,bool,4,bit,,3\n";
        let imported = imported(list).expect("good");
        assert_eq!(imported.tags, 2);
        let machine = edge_config::read_machine(Path::new("press.toml"), &imported.file).expect("good");
        assert_eq!(machine.tags[0].definition.name, "Oil, hot \"side\"");
        assert_eq!(machine.tags[1].definition.id.as_str(), "pump");
    }

    #[test]
    fn semicolons_and_decimal_commas_of_european_spreadsheets_are_read() {
        let list = "id;data_type;holding_register;format;scale\noil;float;0;i16;0,1\n";
        assert!(imported(list).expect("good").toml.contains("scale = 0.1\n"));
    }

    #[test]
    fn cells_that_are_no_numbers_are_told_all_at_once_with_their_lines() {
        let list = "id,data_type,holding_register,format,scale,colour\n\
                    oil,float,zero,i16,0.1,red\n\
                    speed,float,1,i16,fast,blue\n";
        let message = imported(list).expect_err("refused");
        for expected in [
            "tags.csv:1: colour: this column is not known; known are id, name",
            "tags.csv:2: holding_register = zero: a whole number is needed",
            "tags.csv:3: scale = fast: a number is needed",
            "3 problems found",
        ] {
            assert!(message.contains(expected), "{expected}\nis not in\n{message}");
        }
    }

    #[test]
    fn what_the_configuration_refuses_is_told_with_the_line_of_the_list() {
        let list = "id,data_type,holding_register,format,bit\n\
                    oil,float,0,i16,\n\
                    speed,float,1,int16,\n\
                    pump,bool,4,bit,16\n";
        let message = imported(list).expect_err("refused");
        assert!(message.contains("tags.csv:3: tags[1].format = \"int16\": is not known"), "{message}");
        assert!(message.contains("tags.csv:4: tags[2].bit = 16: is out of range"), "{message}");
    }

    #[test]
    fn the_machine_file_is_written_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (csv, machine) = (folder.path().join("tags.csv"), folder.path().join("press.toml"));
        std::fs::write(&machine, MACHINE).expect("written");
        let arguments =
            |dry_run| ImportArguments { list: csv.clone(), sheet: None, machine: machine.clone(), dry_run };
        std::fs::write(&csv, "id,data_type,holding_register,format\noil,float,0,i15\n").expect("written");
        run(&arguments(false)).expect_err("refused");
        assert_eq!(std::fs::read_to_string(&machine).expect("there"), MACHINE);
        std::fs::write(&csv, "\u{feff}id,data_type,holding_register,format\noil,float,0,i16\n")
            .expect("written");
        run(&arguments(false)).expect("good");
        assert!(std::fs::read_to_string(&machine).expect("there").contains("[[tags]]\nid = \"oil\"\n"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 2, "no draft is left");
    }

    /// A workbook with these rows, and what it says when it is imported.
    fn workbook(rows: &[&[Cell<'_>]]) -> (tempfile::TempDir, std::path::PathBuf) {
        let mut book = rust_xlsxwriter::Workbook::new();
        book.add_worksheet().set_name("Notes").expect("a name").write(0, 0, "nothing here").expect("written");
        let sheet = book.add_worksheet().set_name("Tags").expect("a name");
        for (row, cells) in (2..).zip(rows) {
            for (column, cell) in (1..).zip(*cells) {
                match cell {
                    Text(text) => sheet.write(row, column, *text),
                    Number(number) => sheet.write(row, column, *number),
                    Formula(text) => sheet.write_formula(row, column, *text),
                    Date => {
                        let date = rust_xlsxwriter::ExcelDateTime::from_ymd(2026, 1, 2).expect("a date");
                        let format = rust_xlsxwriter::Format::new().set_num_format("yyyy-mm-dd");
                        sheet.write_with_format(row, column, &date, &format)
                    }
                    Empty => continue,
                }
                .expect("written");
            }
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tags.xlsx");
        book.save(&path).expect("saved");
        (folder, path)
    }

    enum Cell<'a> {
        Text(&'a str),
        Number(f64),
        Formula(&'a str),
        Date,
        Empty,
    }
    use Cell::{Date, Empty, Formula, Number, Text};

    fn imported_from(path: &Path) -> Result<Imported, String> {
        let list = TagList::read(path, Some("tags")).map_err(|e| format!("{e:#}"))?;
        import(&list, Path::new("press.toml"), MACHINE).map_err(|e| e.to_string())
    }

    const HEADER: [Cell<'_>; 6] =
        [Text("id"), Text("data_type"), Text("holding_register"), Text("format"), Text("scale"), Text("bit")];

    #[test]
    fn a_sheet_of_a_workbook_becomes_tags_that_the_configuration_accepts() {
        let (_folder, path) = workbook(&[
            &HEADER,
            &[Text("oil"), Text("float"), Number(0.0), Text("i16"), Number(0.1), Empty],
            &[],
            &[Text("gas"), Text("float"), Formula("=3+1"), Text("i16"), Text("0,01"), Empty],
            &[Text("pump"), Text("bool"), Number(5.0), Text("bit"), Empty, Number(3.0)],
        ]);
        // A formula without a computed value reads 0, as spreadsheets keep it.
        let imported = imported_from(&path).expect("good");
        assert_eq!(imported.tags, 3);
        assert!(imported.toml.contains("id = \"oil\"\ndata_type = \"float\"\nholding_register = 0\n"));
        assert!(imported.toml.contains("scale = 0.1\n") && imported.toml.contains("scale = 0.01\n"));
        assert!(imported.toml.contains("format = \"bit\"\nbit = 3\n"), "{}", imported.toml);
    }

    #[test]
    fn mistakes_in_a_sheet_are_told_all_at_once_with_sheet_and_row() {
        let (_folder, path) = workbook(&[
            &HEADER,
            &[Text("oil"), Text("float"), Number(0.5), Text("i16"), Text("fast"), Empty],
            &[Text("gas"), Text("float"), Date, Text("i16"), Empty, Empty],
        ]);
        let message = imported_from(&path).expect_err("refused");
        for expected in [
            "tags.xlsx [Tags]:4: holding_register = 0.5: a whole number is needed",
            "tags.xlsx [Tags]:4: scale = fast: a number is needed",
            "tags.xlsx [Tags]:5: holding_register: the spreadsheet made a date",
            "3 problems found",
        ] {
            assert!(message.contains(expected), "{expected}\nis not in\n{message}");
        }
        let (_folder, path) = workbook(&[
            &HEADER,
            &[Text("oil"), Text("float"), Number(0.0), Text("i16"), Empty, Empty],
            &[Text("pump"), Text("bool"), Number(4.0), Text("bit"), Empty, Number(16.0)],
        ]);
        let message = imported_from(&path).expect_err("refused");
        assert!(message.contains("tags.xlsx [Tags]:5: tags[1].bit = 16: is out of range"), "{message}");
    }

    #[test]
    fn a_workbook_that_claims_a_huge_sheet_is_refused_before_it_is_laid_out() {
        let mut book = rust_xlsxwriter::Workbook::new();
        let sheet = book.add_worksheet().set_name("Tags").expect("a name");
        sheet.write(0, 0, "id").expect("written").write(1_048_575, 16_383, "far").expect("written");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tags.xlsx");
        book.save(&path).expect("saved");
        let message = imported_from(&path).expect_err("too large");
        assert!(message.contains("row 1048576, column 16384"), "{message}");
        let error = TagList::read(&path, Some("Other")).expect_err("none").to_string();
        assert!(error.contains("has no sheet \"Other\"; there are Tags"), "{error}");
    }
}
