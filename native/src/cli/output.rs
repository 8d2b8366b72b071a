//! Standard output: text as it comes, JSON at the end.

use std::io::{self, Write};

use serde::Serialize;

use super::errors::Failure;

/// Writes text and shows it at once.
pub fn show(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes one JSON object and a line feed. Floats have as many digits as it takes to read them back exactly.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    serde_json::to_writer(&mut out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    out.flush()?;
    Ok(())
}

/// Tells people something on stderr; if nobody listens, so be it.
pub fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} bytes") } else { format!("{amount:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        let told = [0, 1023, 1024, 1_500_000, u64::MAX].map(size);
        assert_eq!(told, ["0 bytes", "1023 bytes", "1.0 KiB", "1.4 MiB", "16777216.0 TiB"]);
    }
}
