//! Modes and times as `ls -l` shows them.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use ashlar::FileKind;

/// Kind and permission bits in ten letters, such as `drwxr-xr-t`.
pub(crate) fn letters(kind: FileKind, mode: u16) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        FileKind::Regular => '-',
        FileKind::Directory => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::CharDevice => 'c',
        FileKind::BlockDevice => 'b',
    });
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// The name of a kind in JSON output.
pub(crate) fn kind_name(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::CharDevice => "char-device",
        FileKind::BlockDevice => "block-device",
    }
}

/// Seconds and nanoseconds since 1970; nanoseconds count forward before 1970 too.
pub(crate) fn since_1970(time: SystemTime) -> (i64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (-seconds, 0),
                part => (-seconds - 1, 1_000_000_000 - part),
            }
        }
    }
}

/// `2026-11-24 17:00:15`, in UTC.
pub(crate) fn utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let mut text = format!("{year:04}-{month:02}-{day:02}");
    let (hour, minute) = (second / 3600, second / 60 % 60);
    // Writing to a string cannot fail.
    let _ = write!(text, " {hour:02}:{minute:02}:{:02}", second % 60);
    text
}

/// Year, month and day of a day since 1970-01-01, in the Gregorian calendar.
///
/// The year is counted from March, so that the leap day is its last: then 400 years, 4 years and
/// 5 months each have a fixed number of days.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_show_set_id_and_sticky_bits() {
        assert_eq!(letters(FileKind::Regular, 0o644), "-rw-r--r--");
        assert_eq!(letters(FileKind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(letters(FileKind::Regular, 0o6755), "-rwsr-sr-x");
        assert_eq!(letters(FileKind::Regular, 0o7000), "---S--S--T");
    }

    #[test]
    fn calendar_knows_leap_years_and_times_before_1970() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(-1), "1969-12-31 23:59:59");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00");
        assert_eq!(utc(1_709_164_800), "2024-02-29 00:00:00");
        assert_eq!(utc(4_107_542_400), "2100-03-01 00:00:00");
        assert_eq!(utc(1_795_539_615), "2026-11-24 17:00:15");
    }
}
