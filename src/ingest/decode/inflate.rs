//! Gzip, for the formats that may come compressed.
//!
//! Invariant: inflation stops at [`INFLATED_MAX`] bytes, whatever the payload claims: a gzip bomb costs that and a counter.

use super::INFLATED_MAX;
use std::io::Read;

/// The payload inflated; `None` where it is not gzip (magic 1f 8b).
pub fn inflate(payload: &[u8]) -> Result<Option<Vec<u8>>, &'static str> {
    if !payload.starts_with(&[0x1f, 0x8b]) {
        return Ok(None);
    }
    let mut out = Vec::with_capacity((payload.len() * 4).min(INFLATED_MAX));
    let read = flate2::read::MultiGzDecoder::new(payload).take(INFLATED_MAX as u64 + 1).read_to_end(&mut out);
    match read {
        Ok(n) if n > INFLATED_MAX => Err("message inflates beyond the limit"),
        Ok(_) => Ok(Some(out)),
        Err(_) => Err("gzip damaged"),
    }
}

/// Compresses, for tests and fuzz seeds.
#[cfg(test)]
pub(crate) fn deflate(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gz.write_all(bytes).unwrap();
    gz.finish().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_told_by_its_magic_and_a_bomb_is_defused() {
        assert_eq!(inflate(b"1;2"), Ok(None));
        assert_eq!(inflate(&deflate(b"1;2")), Ok(Some(b"1;2".to_vec())));
        let two = [deflate(b"1;"), deflate(b"2")].concat();
        assert_eq!(inflate(&two), Ok(Some(b"1;2".to_vec())));
        let bomb = deflate(&vec![b' '; 4 * INFLATED_MAX]);
        assert!(bomb.len() < INFLATED_MAX / 100);
        assert_eq!(inflate(&bomb), Err("message inflates beyond the limit"));
        assert_eq!(inflate(&deflate(b"1;2")[..12]), Err("gzip damaged"));
        assert_eq!(inflate(&[0x1f, 0x8b]), Err("gzip damaged"));
    }
}
