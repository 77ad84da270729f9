//! How long a chunked body is (RFC 9112, section 7.1), which no header tells.
//!
//! Node's parser finds out, too, but only when the request has been given to its handler, which may have answered by then.

use httparse::{Status, parse_chunk_size};

const LINE_END: &[u8] = b"\r\n";
const LAST_FIELD_END: &[u8] = b"\r\n\r\n";

/// How many bytes belong to the chunked body that the input begins with, its trailer section included. Nothing if it
/// does not end in the input, or if that begins with something else.
#[must_use]
pub fn length(input: &[u8]) -> Option<usize> {
    let mut place = 0;
    loop {
        let rest = input.get(place..)?;
        // httparse takes a line without a number for a zero.
        if !rest.first()?.is_ascii_hexdigit() {
            return None;
        }
        let Ok(Status::Complete((line, size))) = parse_chunk_size(rest) else { return None };
        let data = place.checked_add(line)?;
        if size == 0 {
            return data.checked_add(trailer_length(input.get(data..)?)?);
        }
        let end = data.checked_add(usize::try_from(size).ok()?)?;
        place = end.checked_add(LINE_END.len())?;
        if input.get(end..place)? != LINE_END {
            return None;
        }
    }
}

fn trailer_length(input: &[u8]) -> Option<usize> {
    if input.starts_with(LINE_END) {
        return Some(LINE_END.len());
    }
    let end = input.windows(LAST_FIELD_END.len()).position(|window| window == LAST_FIELD_END)?;
    Some(end + LAST_FIELD_END.len())
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::length;

    fn body(chunks: &[String], extension: &str, trailer: &str) -> String {
        let mut body = String::new();
        for chunk in chunks {
            let _ = write!(body, "{:x}{extension}\r\n{chunk}\r\n", chunk.len());
        }
        body + "0" + extension + "\r\n" + trailer + "\r\n"
    }

    proptest! {
        #[test]
        fn what_comes_behind_a_body_does_not_belong_to_it(
            chunks in vec("[\\x00-\\x7f]{1,40}", 0..5),
            extension in prop_oneof![Just(""), Just(";name=value")],
            trailer in prop_oneof![Just(""), Just("Name: value\r\n"), Just("One: 1\r\nTwo: 2\r\n")],
            behind in "[\\x00-\\x7f]{0,40}",
        ) {
            let body = body(&chunks, extension, trailer);
            prop_assert_eq!(length((body.clone() + &behind).as_bytes()), Some(body.len()));
        }

        #[test]
        fn half_a_body_has_no_length(chunks in vec("[\\x00-\\x7f]{1,40}", 0..5), cut in any::<prop::sample::Index>()) {
            let body = body(&chunks, "", "Name: value\r\n");
            prop_assert_eq!(length(&body.as_bytes()[..cut.index(body.len())]), None);
        }

        #[test]
        fn whatever_is_received_has_a_length_within_it_or_none(input in vec(any::<u8>(), 0..64)) {
            prop_assert!(length(&input).is_none_or(|length| length <= input.len()));
        }
    }

    #[test]
    fn what_is_no_chunked_body_has_no_length() {
        for input in [
            "",
            "\r\n",
            "\r\n\r\n",
            ";x\r\n\r\n",
            " \r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "2\r\nabc\r\n0\r\n\r\n",
            "ffffffffffffffff\r\nabc",
            "-1\r\n",
        ] {
            assert_eq!(length(input.as_bytes()), None, "{input:?}");
        }
    }
}
