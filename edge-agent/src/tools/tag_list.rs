//! A tag list as rows of text, from CSV (UTF-8) or from a sheet of an `.xlsx` or `.ods` workbook.
//!
//! A row keeps the number under which its author sees it: the line of the CSV file, the row of the
//! sheet. Sizes are limited before anything is unpacked or laid out: a small file can claim to unpack
//! to gigabytes, and a single cell in the last corner to a sheet of billions of cells.

use std::fs::File;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use calamine::{Data, Ods, Range, Reader, Xlsx};
use csv::{ReaderBuilder, StringRecord};

/// What a configuration file may have; a tag list is no longer.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// What a workbook may be unpacked: its tables are XML, some ten times as long as packed.
const UNPACKED_BYTES_MAX: u64 = 64 << 20;

/// Rows of a sheet: more tags than a machine may have, with room for blank lines.
const ROWS_MAX: usize = 20_000;

/// Columns of a sheet: more than there are keys of a tag, with room for notes nobody reads.
const COLUMNS_MAX: usize = 100;

/// A list of tags, cell by cell.
#[derive(Debug)]
pub(super) struct TagList {
    /// The file, with the sheet.
    pub place: PathBuf,
    /// Its numbers may have a comma for a point.
    pub decimal_comma: bool,
    /// The first row names the columns.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Debug)]
pub(super) struct Row {
    /// Line or row, from 1.
    pub number: usize,
    pub cells: Vec<Cell>,
    /// Why it has no cells.
    pub problem: Option<String>,
}

/// The text of a cell, or why it has none.
pub(super) type Cell = Result<String, String>;

impl TagList {
    /// # Errors
    /// It cannot be read, is too large, or there is no such sheet.
    pub(super) fn read(path: &Path, sheet: Option<&str>) -> Result<Self> {
        let bytes = read_bytes(path)?;
        let is = |extension: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension));
        if is("xlsx") || is("xlsm") {
            return Self::xlsx(path, bytes, sheet);
        }
        if is("ods") {
            return Self::ods(path, bytes, sheet);
        }
        ensure!(!is("xls"), "{}: the old .xls is not read; save it as .xlsx", path.display());
        ensure!(sheet.is_none(), "{} is read as CSV, which has no sheets; leave --sheet out", path.display());
        Ok(Self::csv(path, &utf8(path, bytes)?))
    }

    /// A list in CSV.
    pub(super) fn csv(path: &Path, text: &str) -> Self {
        let delimiter = delimiter(text.lines().next().unwrap_or_default());
        let mut reader = ReaderBuilder::new();
        let reader = reader.delimiter(delimiter).trim(csv::Trim::All).has_headers(false).flexible(true);
        let mut rows: Vec<Row> = Vec::new();
        for record in reader.from_reader(text.as_bytes()).records() {
            rows.push(match record {
                Ok(record) => csv_row(&record, rows.first().map(|header| header.cells.len())),
                Err(error) => {
                    let number = error.position().and_then(|p| usize::try_from(p.line()).ok()).unwrap_or(1);
                    Row { number, cells: Vec::new(), problem: Some(format!("this is no CSV: {error}")) }
                }
            });
        }
        Self { place: path.to_owned(), decimal_comma: delimiter != b',', rows }
    }

    fn xlsx(path: &Path, bytes: Vec<u8>, sheet: Option<&str>) -> Result<Self> {
        let unreadable = || format!("{} is no .xlsx that can be read", path.display());
        check_unpacked(path, &bytes)?;
        let mut book = Xlsx::new(Cursor::new(bytes)).with_context(unreadable)?;
        let name = chosen(path, book.sheet_names(), sheet)?;
        {
            // Before a table with room for all of them is made.
            let mut cells = book.worksheet_cells_reader(&name).with_context(unreadable)?;
            while let Some(cell) = cells.next_cell().with_context(unreadable)? {
                let (row, column) = cell.get_position();
                check_size(path, &name, (row as usize, column as usize))?;
            }
        }
        let range = book.worksheet_range(&name).with_context(unreadable)?;
        Ok(Self::of(path, &name, &range))
    }

    fn ods(path: &Path, bytes: Vec<u8>, sheet: Option<&str>) -> Result<Self> {
        let unreadable = || format!("{} is no .ods that can be read", path.display());
        check_unpacked(path, &bytes)?;
        let mut book = Ods::new(Cursor::new(bytes)).with_context(unreadable)?;
        let name = chosen(path, book.sheet_names(), sheet)?;
        let range = book.worksheet_range(&name).with_context(unreadable)?;
        if let Some((row, column)) = range.end() {
            check_size(path, &name, (row as usize, column as usize))?;
        }
        Ok(Self::of(path, &name, &range))
    }

    fn of(path: &Path, sheet: &str, range: &Range<Data>) -> Self {
        let first = range.start().map_or(0, |(row, _)| row as usize) + 1;
        let row = |(number, cells): (usize, &[Data])| {
            let cells = cells.iter().map(text).collect();
            Row { number, cells, problem: None }
        };
        let rows = (first..).zip(range.rows()).map(row).filter(|row| row.cells.iter().any(is_filled));
        let place = format!("{} [{sheet}]", path.display()).into();
        Self { place, decimal_comma: true, rows: rows.collect() }
    }
}

fn is_filled(cell: &Cell) -> bool {
    !cell.as_ref().is_ok_and(String::is_empty)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = Vec::new();
    file.by_ref()
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let too_long = bytes.len() as u64 > FILE_BYTES_MAX;
    ensure!(!too_long, "{} has more than {FILE_BYTES_MAX} bytes, which are read at most", path.display());
    Ok(bytes)
}

/// The text of a file of limited size, without a byte order mark.
///
/// # Errors
/// It cannot be read, is too large, or is no UTF-8.
pub(super) fn read_text(path: &Path) -> Result<String> {
    utf8(path, read_bytes(path)?)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String> {
    let text = String::from_utf8(bytes)
        .map_err(|_| anyhow!("{} is not UTF-8; save it as \"CSV UTF-8\"", path.display()))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

/// Whichever of the usual separators the header has most of.
fn delimiter(header: &str) -> u8 {
    let count = |separator: &u8| header.bytes().filter(|b| b == separator).count();
    [b',', b';', b'\t'].into_iter().rev().max_by_key(count).unwrap_or(b',')
}

fn csv_row(record: &StringRecord, columns: Option<usize>) -> Row {
    let number = record.position().and_then(|p| usize::try_from(p.line()).ok()).unwrap_or(1);
    let cells: Vec<Cell> = record.iter().map(|cell| Ok(cell.to_owned())).collect();
    let differs = |columns: &usize| *columns != cells.len() && cells.iter().any(is_filled);
    let problem = columns.filter(differs).map(|columns| {
        let came = cells.len();
        format!("this line has {came} cells, the first line {columns}; put a text with a separator in quotes")
    });
    Row { number, cells, problem }
}

/// Asks the directory of the archive what its files say to hold.
fn check_unpacked(path: &Path, bytes: &[u8]) -> Result<()> {
    let unreadable = || format!("{} is no workbook: it is no ZIP archive", path.display());
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).with_context(unreadable)?;
    let mut unpacked: u64 = 0;
    for index in 0..archive.len() {
        unpacked = unpacked.saturating_add(archive.by_index_raw(index).with_context(unreadable)?.size());
    }
    ensure!(
        unpacked <= UNPACKED_BYTES_MAX,
        "{} unpacks to {unpacked} bytes; at most {UNPACKED_BYTES_MAX} are read",
        path.display()
    );
    Ok(())
}

fn check_size(path: &Path, sheet: &str, last: (usize, usize)) -> Result<()> {
    ensure!(
        last.0 < ROWS_MAX && last.1 < COLUMNS_MAX,
        "{} [{sheet}] has a cell in row {}, column {}; at most {ROWS_MAX} rows and {COLUMNS_MAX} columns are read",
        path.display(),
        last.0 + 1,
        last.1 + 1
    );
    Ok(())
}

fn chosen(path: &Path, sheets: Vec<String>, wanted: Option<&str>) -> Result<String> {
    let known = sheets.join(", ");
    match wanted {
        None => sheets.into_iter().next().with_context(|| format!("{} has no sheet", path.display())),
        Some(wanted) => match sheets.into_iter().find(|name| name.eq_ignore_ascii_case(wanted)) {
            Some(name) => Ok(name),
            None => bail!("{} has no sheet {wanted:?}; there are {known}", path.display()),
        },
    }
}

fn text(cell: &Data) -> Cell {
    match cell {
        Data::Empty => Ok(String::new()),
        Data::String(text) => Ok(text.trim().to_owned()),
        Data::Bool(flag) => Ok(flag.to_string()),
        Data::Int(number) => Ok(number.to_string()),
        // Without an exponent, and without a point where it is whole.
        Data::Float(number) => Ok(number.to_string()),
        Data::DateTime(_) | Data::DateTimeIso(_) | Data::DurationIso(_) => {
            Err("the spreadsheet made a date or time of this; format the cell as text and write it again"
                .into())
        }
        Data::Error(error) => Err(format!("the formula of this cell fails with {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_spreadsheet_are_written_as_people_write_them() {
        let written = |number: f64| text(&Data::Float(number)).expect("a number");
        assert_eq!(
            (written(40_001.0), written(0.1), written(-2.5)),
            ("40001".into(), "0.1".into(), "-2.5".into())
        );
    }

    #[test]
    fn what_is_no_workbook_or_has_another_sheet_is_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("tags.xlsx"), "id,data_type\n").expect("written");
        let told = |name: &str, sheet| {
            format!("{:#}", TagList::read(&path(name), sheet).expect_err("it cannot be read"))
        };
        assert!(told("tags.xlsx", None).contains("no ZIP archive"), "{}", told("tags.xlsx", None));
        std::fs::write(path("tags.xls"), "").expect("written");
        assert!(told("tags.xls", None).contains("save it as .xlsx"));
        std::fs::write(path("tags.csv"), "id\n").expect("written");
        assert!(told("tags.csv", Some("Tags")).contains("leave --sheet out"));
        assert!(told("none.ods", None).contains("cannot read"));
    }

    #[test]
    fn a_file_that_is_too_long_is_not_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tags.csv");
        File::create(&path).and_then(|file| file.set_len(FILE_BYTES_MAX + 1)).expect("made");
        assert!(TagList::read(&path, None).expect_err("too long").to_string().contains("4194304"));
    }
}
