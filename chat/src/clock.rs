//! `strftime_now`: today's date, as some templates put it into the system message.

use jiff::civil::DateTime;

/// The wall clock of this machine, in its own time zone; nothing where there is no clock (bare WebAssembly).
pub(crate) fn now() -> Option<DateTime> {
    if cfg!(all(target_family = "wasm", target_os = "unknown")) {
        return None;
    }
    Some(jiff::Zoned::now().datetime())
}

/// `datetime.strftime(format)` of a date without a time zone: what the C library does not know stays as it is.
pub(crate) fn strftime(now: DateTime, format: &str) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        // One directive: the percent sign, a flag that changes the padding, a letter.
        let mut end = 1;
        let mut letter = None;
        for c in rest[1..].chars() {
            end += c.len_utf8();
            if !matches!(c, '-' | '_' | '0' | '^' | '#') {
                letter = Some(c);
                break;
            }
        }
        let directive = &rest[..end];
        match letter {
            // Without a time zone Python prints nothing for these.
            Some('z' | 'Z') => {}
            Some('c') => out.push_str(&now.strftime("%a %b %e %H:%M:%S %Y").to_string()),
            Some('x') => out.push_str(&now.strftime("%m/%d/%y").to_string()),
            Some('X') => out.push_str(&now.strftime("%H:%M:%S").to_string()),
            _ => match jiff::fmt::strtime::format(directive, now) {
                Ok(text) if directive.ends_with('f') => out.push_str(&format!("{text:0<6}")[..6]),
                Ok(text) => out.push_str(&text),
                Err(_) => out.push_str(directive),
            },
        }
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_directives() {
        let now: DateTime = "2024-07-06T12:30:45".parse().unwrap();
        for (format, expected) in [
            ("%d %b %Y", "06 Jul 2024"),
            ("%B %d, %Y", "July 06, 2024"),
            ("%A %a %-d %j %m %y", "Saturday Sat 6 188 07 24"),
            ("%H:%M:%S %I %p", "12:30:45 12 PM"),
            ("%Y-%m-%d%%", "2024-07-06%"),
            ("%f|%Z|%z", "000000||"),
            ("%U %W %w %u", "26 27 6 6"),
            ("100% é %é %", "100% é %é %"),
            ("%c", "Sat Jul  6 12:30:45 2024"),
        ] {
            assert_eq!(strftime(now, format), expected, "{format}");
        }
    }
}
