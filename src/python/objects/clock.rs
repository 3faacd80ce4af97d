//! Datetimes of Unix timestamps.

use std::ops::RangeInclusive;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyType, PyTzInfo};

/// The seconds that a datetime can hold: the years 1 to 9999.
const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// How many datetimes are kept for timestamps that come again, a power of two.
const KEPT: usize = 64;

/// Makes datetimes in UTC.
pub(super) struct Clock<'py> {
    datetime: Bound<'py, PyType>,
    utc: Bound<'py, PyTzInfo>,
    kept: Vec<Option<(i64, Bound<'py, PyAny>)>>,
}

impl<'py> Clock<'py> {
    pub(super) fn new(py: Python<'py>) -> PyResult<Self> {
        static DATETIME: PyOnceLock<Py<PyType>> = PyOnceLock::new();
        Ok(Self {
            datetime: DATETIME.import(py, "datetime", "datetime")?.clone(),
            utc: PyTzInfo::utc(py)?.to_owned(),
            kept: vec![const { None }; KEPT],
        })
    }

    /// What `datetime.fromtimestamp(seconds, timezone.utc)` gives.
    pub(super) fn datetime(&mut self, seconds: i64) -> PyResult<Bound<'py, PyAny>> {
        let kept = &mut self.kept[place(seconds)];
        if let Some((known, datetime)) = kept
            && *known == seconds
        {
            return Ok(datetime.clone());
        }
        let py = self.utc.py();
        let datetime = if SECONDS.contains(&seconds) {
            // The arguments with which datetimes are unpickled. Any other way takes three times as
            // long, most of it for taking arguments apart.
            let state = PyBytes::new(py, &pickled(seconds));
            self.datetime.call1((state, &self.utc))?
        } else {
            // Raises what stock does.
            let from_timestamp = intern!(py, "fromtimestamp");
            self.datetime
                .call_method1(from_timestamp, (seconds, &self.utc))?
        };
        *kept = Some((seconds, datetime.clone()));
        Ok(datetime)
    }
}

fn place(seconds: i64) -> usize {
    let spread = seconds.cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (spread >> (64 - KEPT.trailing_zeros())) as usize
}

/// A datetime as pickle has it: year, month, day, hour, minute, second, microsecond.
fn pickled(seconds: i64) -> [u8; 10] {
    let (year, month, day) = date(seconds.div_euclid(86_400));
    let time = seconds.rem_euclid(86_400);
    let [high, low] = (year as u16).to_be_bytes();
    let clock = [time / 3600, time / 60 % 60, time % 60].map(|part| part as u8);
    [
        high,
        low,
        month as u8,
        day as u8,
        clock[0],
        clock[1],
        clock[2],
        0,
        0,
        0,
    ]
}

/// Year, month and day of so many days since 1970, in the proleptic Gregorian calendar.
///
/// Years are counted from March here, so that the leap day is the last of a year.
fn date(days: i64) -> (i64, i64, i64) {
    /// Days of 400, 100, 4 and 1 years, without the leap day that only some of them have.
    const YEARS: [(i64, i64); 3] = [(100, 36_524), (4, 1_461), (1, 365)];
    let days = days + 719_468; // since the 1st of March of the year 0
    let mut year = days.div_euclid(146_097) * 400;
    let mut rest = days.rem_euclid(146_097);
    for (years, length) in YEARS {
        // The fourth century, and the fourth year, end with a leap day.
        let most = if years == 4 { i64::MAX } else { 3 };
        let count = (rest / length).min(most);
        year += count * years;
        rest -= count * length;
    }
    // From March on, five months have 153 days: 31, 30, 31, 30, 31.
    let month = (5 * rest + 2) / 153;
    let day = rest - (153 * month + 2) / 5 + 1;
    if month < 10 {
        (year, month + 3, day)
    } else {
        (year + 1, month - 9, day)
    }
}
