//! `edge-agent import`: a tag list from a spreadsheet, as CSV, becomes `[[tags]]` of a machine file.
//!
//! The first line names the columns, which are the keys of a tag in the configuration, in any order;
//! an empty cell is a key that is not given. Columns are separated by comma, semicolon or tab, whichever
//! the first line has most of; with the last two a decimal comma is a point. The machine file is only
//! written if it is good with the new tags in it: the configuration's own reader judges it, and what it
//! finds in a new tag is told with the line of the CSV file.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use csv::{ReaderBuilder, StringRecord};
use edge_config::{ConfigErrors, Problem};

use super::Found;
use crate::cli::ImportArguments;

/// What a configuration file may have; a tag list is no longer.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How the text of a cell is written in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Whole,
    Number,
}

const COLUMNS: [(&str, Kind); 17] = [
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
    ("registers", Kind::Whole),
    ("word_order", Kind::Text),
    ("scale", Kind::Number),
    ("offset", Kind::Number),
    ("poll_interval_ms", Kind::Whole),
    ("node_id", Kind::Text),
];

pub(crate) fn run(arguments: &ImportArguments) -> Result<Found> {
    let list = read(&arguments.csv)?;
    let machine = read(&arguments.machine)?;
    let imported = import(&arguments.csv, &list, &arguments.machine, &machine)?;
    if arguments.dry_run {
        print(&imported.toml);
        return Ok(Found::Something);
    }
    let draft = arguments.machine.with_extension("toml.draft");
    std::fs::write(&draft, imported.file)
        .and_then(|()| std::fs::rename(&draft, &arguments.machine))
        .with_context(|| format!("cannot write {}", arguments.machine.display()))?;
    print(&format!(
        "{} tags added to {}; next: edge-agent check\n",
        imported.tags,
        arguments.machine.display()
    ));
    Ok(Found::Something)
}

#[expect(clippy::print_stdout, reason = "the result of a command line tool")]
fn print(text: &str) {
    print!("{text}");
}

fn read(path: &Path) -> Result<String> {
    let size = std::fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(size <= FILE_BYTES_MAX, "{} has {size} bytes; at most {FILE_BYTES_MAX} are read", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8(bytes)
        .ok()
        .with_context(|| format!("{} is not UTF-8; save it as \"CSV UTF-8\"", path.display()))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
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

fn import(
    list_path: &Path,
    list: &str,
    machine_path: &Path,
    machine: &str,
) -> Result<Imported, ConfigErrors> {
    let draft = draft(list_path, list);
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
                Problem { file: list_path.to_owned(), line: draft.lines.get(line).copied(), ..problem }
            }
        };
        ConfigErrors(errors.0.into_iter().map(place).collect())
    })?;
    Ok(Imported { tags: draft.tags, toml: draft.toml, file })
}

fn draft(path: &Path, list: &str) -> Draft {
    let mut draft = Draft::default();
    let delimiter = delimiter(list.lines().next().unwrap_or_default());
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter).trim(csv::Trim::All).from_reader(list.as_bytes());
    let columns = match reader.headers() {
        Ok(header) => columns(path, header, &mut draft.problems),
        Err(error) => {
            draft.problems.push(problem(path, 1, "", "", error.to_string()));
            return draft;
        }
    };
    for record in reader.records() {
        match record {
            Ok(record) => draft.add(path, &record, &columns, delimiter != b','),
            Err(error) => {
                let line = error.position().and_then(|p| usize::try_from(p.line()).ok()).unwrap_or(1);
                draft.problems.push(problem(path, line, "", "", format!("this is no CSV: {error}")));
            }
        }
    }
    if draft.tags == 0 && draft.problems.is_empty() {
        draft.problems.push(problem(path, 1, "", "", "there is no tag under the header".to_owned()));
    }
    draft
}

/// Whichever of the usual separators the header has most of.
fn delimiter(header: &str) -> u8 {
    let count = |separator: &u8| header.bytes().filter(|b| b == separator).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(count).unwrap_or(b',')
}

type Column = (&'static str, Kind);

fn columns(path: &Path, header: &StringRecord, problems: &mut Vec<Problem>) -> Vec<Option<Column>> {
    let mut found: Vec<Option<Column>> = Vec::new();
    for name in header {
        let column = COLUMNS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        if column.is_none() {
            let known = COLUMNS.map(|(known, _)| known).join(", ");
            problems.push(problem(path, 1, name, "", format!("this column is not known; known are {known}")));
        } else if found.contains(&column) {
            problems.push(problem(path, 1, name, "", "this column is there twice; keep one".to_owned()));
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
    fn add(&mut self, path: &Path, record: &StringRecord, columns: &[Option<Column>], decimal_comma: bool) {
        if record.iter().all(str::is_empty) {
            return;
        }
        let line = record.position().and_then(|p| usize::try_from(p.line()).ok()).unwrap_or(1);
        self.push(line, format_args!("\n[[tags]]"));
        self.tags += 1;
        for (cell, column) in record.iter().zip(columns) {
            let Some((key, kind)) = column else { continue };
            if cell.is_empty() {
                continue;
            }
            match toml_value(cell, *kind, decimal_comma) {
                Ok(value) => self.push(line, format_args!("{key} = {value}")),
                Err(message) => self.problems.push(problem(path, line, key, cell, message.to_owned())),
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
        import(Path::new("tags.csv"), list, Path::new("press.toml"), MACHINE).map_err(|e| e.to_string())
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
        let arguments = |dry_run| ImportArguments { csv: csv.clone(), machine: machine.clone(), dry_run };
        std::fs::write(&csv, "id,data_type,holding_register,format\noil,float,0,i15\n").expect("written");
        run(&arguments(false)).expect_err("refused");
        assert_eq!(std::fs::read_to_string(&machine).expect("there"), MACHINE);
        std::fs::write(&csv, "\u{feff}id,data_type,holding_register,format\noil,float,0,i16\n")
            .expect("written");
        run(&arguments(false)).expect("good");
        assert!(std::fs::read_to_string(&machine).expect("there").contains("[[tags]]\nid = \"oil\"\n"));
        assert_eq!(std::fs::read_dir(folder.path()).expect("there").count(), 2, "no draft is left");
    }
}
