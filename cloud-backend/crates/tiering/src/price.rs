//! What a tier costs: list prices of storage, from a price book in CSV.
//!
//! The columns are named in its first line; read are `sku_id`, `pricing_unit`, `list_unit_price_usd`, and where they are
//! there `min_days` and `min_object_bytes`. Prices are decimal numbers with at most nine places; money is counted in
//! whole millionths of a dollar. A GB has 10^9 bytes.

use thiserror::Error;

/// The prices that come with the program: those of storage in one region of one provider, with their date in the file.
const BUILT_IN: &str = include_str!("prices.csv");

/// Nine decimal places.
const NANOS: u128 = 1_000_000_000;

/// Why there is no price.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PriceError {
    /// The file is not what it should be.
    #[error("line {line} of the price book: {detail}")]
    Line {
        /// Counted from 1.
        line: u64,
        /// What is wrong with it.
        detail: String,
    },
    /// The book does not name it.
    #[error("the price book has no {0} per GB-month")]
    Unknown(String),
}

/// What a class of storage costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoragePrice {
    /// Its name in the price book.
    pub sku: String,
    /// Billionths of a dollar for a GB and month.
    nanos_per_gb_month: u64,
    /// Days that are billed at least for each object.
    pub min_days: u32,
    /// Bytes that are billed at least for each object.
    pub min_object_bytes: u64,
}

/// Millionths of a dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Micros(pub u64);

impl std::iter::Sum for Micros {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self(0), |sum, one| Self(sum.0.saturating_add(one.0)))
    }
}

impl std::fmt::Display for Micros {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:06} USD", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

impl StoragePrice {
    /// A month of so many bytes, rounded to the nearest millionth; halves go up.
    #[must_use]
    pub fn of_bytes(&self, bytes: u64) -> Micros {
        let nanos_of_bytes = u128::from(bytes) * u128::from(self.nanos_per_gb_month);
        let micros = (nanos_of_bytes + NANOS * 500) / (NANOS * 1_000);
        Micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// A month of an object, with the bytes that are billed at least.
    #[must_use]
    pub fn of_object(&self, bytes: u64) -> Micros {
        self.of_bytes(bytes.max(self.min_object_bytes))
    }
}

/// What the tiers cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prices {
    /// The store.
    pub store: StoragePrice,
    /// The archive.
    pub archive: StoragePrice,
}

impl Prices {
    /// The prices of these two, from the book that comes with the program.
    ///
    /// # Errors
    /// It does not name one of them.
    pub fn built_in(store: &str, archive: &str) -> Result<Self, PriceError> {
        Self::from_csv(BUILT_IN, store, archive)
    }

    /// The prices of these two from a price book.
    ///
    /// # Errors
    /// It cannot be read, or does not name one of them.
    pub fn from_csv(book: &str, store: &str, archive: &str) -> Result<Self, PriceError> {
        Ok(Self { store: find(book, store)?, archive: find(book, archive)? })
    }
}

/// Columns by their names; the last two may be missing.
const COLUMNS: [&str; 5] = ["sku_id", "pricing_unit", "list_unit_price_usd", "min_days", "min_object_bytes"];

fn find(book: &str, sku: &str) -> Result<StoragePrice, PriceError> {
    let mut reader = csv::Reader::from_reader(book.as_bytes());
    let header = reader.headers().map_err(|e| broken(&e))?.clone();
    let places = COLUMNS.map(|name| header.iter().position(|column| column == name));
    if let Some(missing) = (0..3).find(|index| places[*index].is_none()) {
        let detail = format!("there is no column {}", COLUMNS[missing]);
        return Err(PriceError::Line { line: 1, detail });
    }
    for record in reader.records() {
        let record = record.map_err(|e| broken(&e))?;
        let cell = |index: usize| places[index].and_then(|place| record.get(place)).unwrap_or_default();
        if (cell(0), cell(1)) != (sku, "GB-Months") {
            continue;
        }
        let line = record.position().map_or(0, csv::Position::line);
        let wrong = |index: usize| PriceError::Line {
            line,
            detail: format!("{} is {:?}, which is no number of that kind", COLUMNS[index], cell(index)),
        };
        let count = |index: usize| match cell(index) {
            "" => Ok(0),
            text => text.parse().map_err(|_| wrong(index)),
        };
        return Ok(StoragePrice {
            sku: sku.to_owned(),
            nanos_per_gb_month: nanos(cell(2)).ok_or_else(|| wrong(2))?,
            min_days: u32::try_from(count(3)?).map_err(|_| wrong(3))?,
            min_object_bytes: count(4)?,
        });
    }
    Err(PriceError::Unknown(sku.to_owned()))
}

fn broken(error: &csv::Error) -> PriceError {
    let line = error.position().map_or(0, csv::Position::line);
    PriceError::Line { line, detail: error.to_string() }
}

/// Billionths from a decimal number.
fn nanos(text: &str) -> Option<u64> {
    let (whole, places) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || places.len() > 9 || !is_number(whole) || !is_number(places) {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let places: u64 = format!("{places:0<9}").parse().ok()?;
    whole.checked_mul(1_000_000_000)?.checked_add(places)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked examples of the price book: 788.4 million samples a month.
    #[test]
    fn a_month_of_storage_costs_what_the_price_book_works_out() {
        let prices = Prices::built_in("rds.gp3.storage", "s3.std.storage.1").expect("known");
        let of =
            |price: &StoragePrice, tenths_of_a_byte: u64| price.of_bytes(78_840_000 * tenths_of_a_byte).0;
        assert_eq!(of(&prices.store, 1_564), 14_180_162, "30 days at 156.4 bytes: 14.18");
        assert_eq!(of(&prices.store, 952), 8_631_403, "at 95.2: 8.63");
        assert_eq!(of(&prices.store, 40), 362_664, "at 4: 0.36");
        assert_eq!(of(&prices.archive, 12 * 25), 543_996, "a year at 2.5: 0.54");
        let rare = Prices::built_in("ebs.gp3", "s3.gir.storage").expect("known").archive;
        assert_eq!((rare.min_days, rare.min_object_bytes), (90, 128 << 10));
        assert_eq!(rare.of_object(24_000), rare.of_bytes(128 << 10), "24 KB are billed as 128");
        assert_eq!(rare.of_object(1_000_000_000), Micros(4_000));
    }

    #[test]
    fn a_book_that_cannot_be_read_is_refused_with_the_line() {
        let book = |line: &str| format!("sku_id,pricing_unit,list_unit_price_usd,min_days\n{line}\n");
        let read = |text: &str| Prices::from_csv(text, "a", "a");
        assert!(
            read(&book("a,GB-Months,0.10,"))
                .is_ok_and(|p| p.store.of_bytes(1_000_000_000) == Micros(100_000))
        );
        for wrong in ["a,GB-Months,-1,", "a,GB-Months,0.0000000001,", "a,GB-Months,,", "a,GB-Months,1,x"] {
            assert!(matches!(read(&book(wrong)), Err(PriceError::Line { line: 2, .. })), "{wrong}");
        }
        assert_eq!(read(&book("a,Hours,1,")), Err(PriceError::Unknown("a".to_owned())));
        assert!(matches!(read("sku_id\na\n"), Err(PriceError::Line { line: 1, .. })));
    }

    #[test]
    fn money_is_shown_with_all_its_places() {
        assert_eq!(Micros(1_234_567).to_string(), "1.234567 USD");
        assert_eq!([Micros(2), Micros(3)].into_iter().sum::<Micros>().to_string(), "0.000005 USD");
    }
}
