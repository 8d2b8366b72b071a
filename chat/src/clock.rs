//! `strftime_now`: today's date, as some templates put it into the system message.
//!
//! Dates come from the host's clock or from whoever renders; here they are only printed. A library for calendars would
//! do that, too, and be 175 KB of a module for browsers, 41 KB of them after compression.

use core::fmt;
use core::str::FromStr;

/// A date and time without a time zone; it parses from `2024-07-26T12:30:45`, or from the date alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    year: u32,
    /// From 1.
    month: u32,
    /// From 1.
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
}

/// A text is no [`DateTime`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoDate(String);

impl fmt::Display for NoDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no date; expected one as 2024-07-26T12:30:45", self.0)
    }
}

impl core::error::Error for NoDate {}

impl FromStr for DateTime {
    type Err = NoDate;

    fn from_str(text: &str) -> Result<Self, NoDate> {
        parse(text).ok_or_else(|| NoDate(text.into()))
    }
}

fn parse(text: &str) -> Option<DateTime> {
    let (date, time) = text.split_once('T').unwrap_or((text, "00:00:00"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let real = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    let real = real && hour < 24 && minute < 60 && second < 60;
    real.then_some(DateTime { year, month, day, hour, minute, second })
}

/// Three numbers of so many digits.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u32; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        let plain = part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit());
        *number = plain.then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

const fn days_of(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
#[rustfmt::skip]
const MONTHS: [&str; 12] = [
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
];

/// What a directive prints.
enum Field {
    /// Of at least so many digits, with this in front of fewer.
    Number(u32, usize, char),
    Text(&'static str),
    /// Directives in turn.
    Several(&'static str),
}

impl DateTime {
    /// From 1.
    fn day_of_year(self) -> u32 {
        (1..self.month).map(|month| days_of(self.year, month)).sum::<u32>() + self.day
    }

    /// From 0, a Sunday.
    fn weekday(self) -> u32 {
        // 400 years are whole weeks; with them there is a year before every year.
        let before = self.year + 399;
        (before * 365 + before / 4 - before / 100 + before / 400 + self.day_of_year()) % 7
    }

    /// The year and the week by ISO 8601: a week begins on Monday and belongs to the year of its Thursday.
    fn iso_week(self) -> (u32, u32) {
        let days = |year| 337 + days_of(year, 2);
        let (thursday, since_monday) = (self.day_of_year() + 3, (self.weekday() + 6) % 7);
        if thursday <= since_monday {
            let before = self.year.saturating_sub(1);
            (before, (thursday + days(before) - since_monday).div_ceil(7))
        } else if thursday - since_monday > days(self.year) {
            (self.year + 1, 1)
        } else {
            (self.year, (thursday - since_monday).div_ceil(7))
        }
    }

    /// What the letter of a directive stands for; nothing for one that the C library does not know.
    fn field(self, letter: char) -> Option<Field> {
        let digits = |n, number| Field::Number(number, n, '0');
        let spaced = |number| Field::Number(number, 2, ' ');
        let twelve = (self.hour + 11) % 12 + 1;
        Some(match letter {
            'Y' => digits(4, self.year),
            'C' => digits(2, self.year / 100),
            'y' => digits(2, self.year % 100),
            'G' => digits(4, self.iso_week().0),
            'g' => digits(2, self.iso_week().0 % 100),
            'm' => digits(2, self.month),
            'd' => digits(2, self.day),
            'e' => spaced(self.day),
            'j' => digits(3, self.day_of_year()),
            'H' => digits(2, self.hour),
            'k' => spaced(self.hour),
            'I' => digits(2, twelve),
            'l' => spaced(twelve),
            'M' => digits(2, self.minute),
            'S' => digits(2, self.second),
            'f' => digits(6, 0),
            'u' => digits(1, (self.weekday() + 6) % 7 + 1),
            'w' => digits(1, self.weekday()),
            'U' => digits(2, (self.day_of_year() + 6 - self.weekday()) / 7),
            'W' => digits(2, (self.day_of_year() + 6 - (self.weekday() + 6) % 7) / 7),
            'V' => digits(2, self.iso_week().1),
            'A' => Field::Text(DAYS[self.weekday() as usize]),
            'a' => Field::Text(&DAYS[self.weekday() as usize][..3]),
            'B' => Field::Text(MONTHS[self.month as usize - 1]),
            'b' | 'h' => Field::Text(&MONTHS[self.month as usize - 1][..3]),
            'p' => Field::Text(if self.hour < 12 { "AM" } else { "PM" }),
            'P' => Field::Text(if self.hour < 12 { "am" } else { "pm" }),
            // Without a time zone Python prints nothing for these.
            'z' | 'Z' => Field::Text(""),
            '%' => Field::Text("%"),
            'n' => Field::Text("\n"),
            't' => Field::Text("\t"),
            'c' => Field::Several("%a %b %e %H:%M:%S %Y"),
            'D' | 'x' => Field::Several("%m/%d/%y"),
            'F' => Field::Several("%Y-%m-%d"),
            'R' => Field::Several("%H:%M"),
            'r' => Field::Several("%I:%M:%S %p"),
            'T' | 'X' => Field::Several("%H:%M:%S"),
            _ => return None,
        })
    }
}

/// The wall clock of this machine, in its own time zone; nothing where there is no clock (bare WebAssembly).
pub(crate) fn now() -> Option<DateTime> {
    #[cfg(all(target_family = "wasm", target_os = "unknown"))]
    return None;
    #[cfg(not(all(target_family = "wasm", target_os = "unknown")))]
    parse(&jiff::Zoned::now().strftime("%FT%T").to_string())
}

/// `datetime.strftime(format)` of a date without a time zone: what the C library does not know stays as it is.
pub(crate) fn strftime(now: DateTime, format: &str) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // One directive: the percent sign, flags that change padding or case, a letter.
        let letter_at =
            rest[1..].find(|c| !matches!(c, '-' | '_' | '0' | '^' | '#')).map_or(rest.len(), |n| n + 1);
        let letter = rest[letter_at..].chars().next();
        let end = letter_at + letter.map_or(0, char::len_utf8);
        match letter.and_then(|letter| now.field(letter)) {
            Some(field) => out.push_str(&print(now, field, rest[1..letter_at].chars().last(), letter)),
            None => out.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

fn print(now: DateTime, field: Field, flag: Option<char>, letter: Option<char>) -> String {
    let text = match (field, flag) {
        (Field::Number(number, ..), Some('-')) => number.to_string(),
        (Field::Number(number, width, ' '), None | Some('^' | '#'))
        | (Field::Number(number, width, _), Some('_')) => {
            format!("{number:width$}")
        }
        (Field::Number(number, width, _), _) => format!("{number:0width$}"),
        (Field::Text(text), _) => text.into(),
        (Field::Several(format), _) => strftime(now, format),
    };
    match (flag, letter) {
        (Some('#'), Some('p')) => text.to_lowercase(),
        (Some('^' | '#'), _) => text.to_uppercase(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directives_mean_what_they_mean_to_c() {
        let now: DateTime = "2024-07-06T12:30:45".parse().unwrap();
        for (format, expected) in [
            ("%d %B %Y", "06 July 2024"),
            ("%d %b %Y", "06 Jul 2024"),
            ("%A, %B %d, %Y %I:%M %p", "Saturday, July 06, 2024 12:30 PM"),
            ("%Y-%m-%d %H:%M:%S.%f%z%Z", "2024-07-06 12:30:45.000000"),
            ("%j %y %a%%", "188 24 Sat%"),
            ("%-d %-m", "6 7"),
            ("%U %W %w %u", "26 27 6 6"),
            ("100% é %é %", "100% é %é %"),
            ("%c", "Sat Jul  6 12:30:45 2024"),
            ("%r", "12:30:45 PM"),
            ("%e|%_m|%0e|%^a|%#p|%D|%x|%X", " 6| 7|06|SAT|pm|07/06/24|07/06/24|12:30:45"),
        ] {
            assert_eq!(strftime(now, format), expected, "{format}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_prints_as_the_calendar_says() {
        let days = "%A %a %B %b %h %C %y %Y %G %g %m %d %e %j %u %w %U %W %V %D %F %-d %_d %0e";
        let mut day = jiff::civil::date(1800, 1, 1);
        while day.year() < 2200 {
            let ours: DateTime = day.to_string().parse().unwrap();
            assert_eq!(strftime(ours, days), day.strftime(days).to_string());
            day = day.tomorrow().unwrap();
        }
    }

    #[test]
    fn every_minute_prints_as_the_calendar_says() {
        let times = "%H %k %I %l %M %S %p %P %R %T %-I %^p %#p %n%t%%";
        for minute in 0..24 * 60 {
            let time = jiff::civil::date(2024, 2, 29).at(
                (minute / 60) as i8,
                (minute % 60) as i8,
                (minute % 60) as i8,
                0,
            );
            let ours: DateTime = time.to_string().parse().unwrap();
            assert_eq!(strftime(ours, times), time.strftime(times).to_string());
        }
    }

    #[test]
    fn what_is_a_date() {
        for text in ["2024-07-26", "2024-02-29T23:59:59", "0000-01-01T00:00:00"] {
            assert!(text.parse::<DateTime>().is_ok(), "{text}");
        }
        for text in [
            "",
            "2024",
            "2024-13-01",
            "2023-02-29",
            "2024-07-26T24:00:00",
            "2024-07-26T12:30:45Z",
            "2024-7-6",
            "+024-07-26",
            "2024-07-26T12:30",
            "2024-07-26-01",
        ] {
            assert!(text.parse::<DateTime>().is_err(), "{text}");
        }
        assert!(now().is_some());
    }
}
