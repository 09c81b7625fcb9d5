//! As much of HTTP/1.1 (RFC 9112) as one request at a time over a socket takes: a head, a body of known length or in
//! chunks.

use std::io::{self, BufRead, BufReader, Read, Write};

/// A longer head is none.
const HEAD_BYTES_MAX: u64 = 64 << 10;

/// The head of an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub status: u16,
    pub length: Option<u64>,
    pub is_chunked: bool,
    /// First byte and size of the whole, of a range.
    pub range: Option<(u64, u64)>,
    /// The other side closes after this.
    pub closes: bool,
}

/// Sends a request.
pub(super) fn send(
    out: &mut dyn Write,
    method: &str,
    path: &str,
    headers: &str,
    body: Option<&[u8]>,
) -> io::Result<()> {
    let length = body.map_or_else(String::new, |body| format!("Content-Length: {}\r\n", body.len()));
    // Keys need no encoding: they have letters, digits, and what stands for itself.
    let head = format!("{method} /{path} HTTP/1.1\r\nHost: rclone\r\n{headers}{length}\r\n");
    out.write_all(head.as_bytes())?;
    out.write_all(body.unwrap_or_default())?;
    out.flush()
}

/// Reads the head of an answer.
pub(super) fn head(from: &mut BufReader<impl Read>) -> io::Result<Head> {
    let mut from = from.take(HEAD_BYTES_MAX);
    let mut line = String::new();
    let mut next = |line: &mut String| -> io::Result<()> {
        line.clear();
        from.read_line(line)?;
        match line.ends_with('\n') {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the answer broke off")),
        }
    };
    next(&mut line)?;
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    let mut head = Head { status: status.ok_or_else(|| bad("not an answer of HTTP"))?, ..Head::default() };
    loop {
        next(&mut line)?;
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(head);
        }
        let Some((name, value)) = text.split_once(':') else { return Err(bad("a header without a colon")) };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => {
                head.length = Some(value.parse().map_err(|_| bad("a length that is no number"))?)
            }
            "transfer-encoding" => head.is_chunked = value.eq_ignore_ascii_case("chunked"),
            "content-range" => head.range = range(value),
            "connection" => head.closes = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
}

/// `bytes 1-3/5`: the first and the size of the whole. The last may be anything.
fn range(value: &str) -> Option<(u64, u64)> {
    let (range, whole) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, whole.parse().ok()?))
}

/// Reads a body into `into`, which must be as long.
pub(super) fn body(from: &mut BufReader<impl Read>, head: &Head, into: &mut [u8]) -> io::Result<()> {
    if !head.is_chunked {
        return match head.length == Some(into.len() as u64) {
            true => from.read_exact(into),
            false => Err(bad("a body of another length than announced")),
        };
    }
    let mut rest = into;
    loop {
        let bytes = chunk(from)?;
        if bytes == 0 {
            return if rest.is_empty() { Ok(()) } else { Err(bad("a body that is too short")) };
        }
        let (now, later) = rest.split_at_mut_checked(bytes).ok_or_else(|| bad("a body that is too long"))?;
        from.read_exact(now)?;
        line_end(from)?;
        rest = later;
    }
}

/// Reads at most `bytes_max` of a body whose length nobody knows, and says whether that was all.
pub(super) fn some(
    from: &mut BufReader<impl Read>,
    head: &Head,
    bytes_max: usize,
) -> io::Result<(Vec<u8>, bool)> {
    let mut text = Vec::new();
    if !head.is_chunked {
        let length = head.length.unwrap_or_default();
        from.take(length.min(bytes_max as u64)).read_to_end(&mut text)?;
        return Ok((text, length <= bytes_max as u64));
    }
    loop {
        let bytes = chunk(from)?;
        if bytes == 0 || text.len() + bytes > bytes_max {
            return Ok((text, bytes == 0));
        }
        from.take(bytes as u64).read_to_end(&mut text)?;
        line_end(from)?;
    }
}

/// The length of the next chunk. After the last one the end of the body is read, too.
fn chunk(from: &mut BufReader<impl Read>) -> io::Result<usize> {
    let mut line = String::new();
    from.take(64).read_line(&mut line)?;
    let bytes = usize::from_str_radix(line.trim_end(), 16).map_err(|_| bad("a chunk without a length"))?;
    if bytes == 0 {
        line_end(from)?;
    }
    Ok(bytes)
}

fn line_end(from: &mut BufReader<impl Read>) -> io::Result<()> {
    let mut end = [0; 2];
    from.read_exact(&mut end)?;
    if end == *b"\r\n" { Ok(()) } else { Err(bad("a chunk of another length than announced")) }
}

fn bad(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(text: &[u8], bytes: usize) -> io::Result<(Head, Vec<u8>)> {
        let mut from = BufReader::new(text);
        let head = head(&mut from)?;
        let mut into = vec![0; bytes];
        body(&mut from, &head, &mut into)?;
        Ok((head, into))
    }

    #[test]
    fn given_answers_then_head_and_body_are_understood() {
        let (head, body) =
            answer(b"HTTP/1.1 206 Partial\r\nContent-Length: 3\r\nContent-Range: bytes 1-3/5\r\n\r\nell", 3)
                .unwrap();
        assert_eq!((head.status, head.range, body.as_slice()), (206, Some((1, 5)), &b"ell"[..]));
        let chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(answer(chunked, 3).unwrap().1, b"abc");
        assert!(answer(chunked, 2).is_err() && answer(chunked, 4).is_err());
        // As rclone answers a range behind the end.
        let (head, _) = answer(
            b"HTTP/1.1 206 X\r\nContent-Range: bytes 9-4/5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            0,
        )
        .unwrap();
        assert_eq!(head.range, Some((9, 5)));
    }

    #[test]
    fn given_answers_that_are_cut_or_lie_then_they_are_refused() {
        for text in [
            &b""[..],
            b"HTTP/1.1 200",
            b"SSH-2.0-x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nab",
            b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        ] {
            assert!(answer(text, 2).is_err(), "{}", String::from_utf8_lossy(text));
        }
        let endless = [b"HTTP/1.1 200 OK\r\n".to_vec(), vec![b'a'; 100_000]].concat();
        assert!(answer(&endless, 0).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_dealt_with(rest in prop::collection::vec(any::<u8>(), 0..300), chunked in any::<bool>()) {
            let start = if chunked { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" } else { "HTTP/1.1 200 OK\r\n" };
            let text = [start.as_bytes(), &rest].concat();
            let _ = answer(&text, 10);
            let mut from = BufReader::new(&text[..]);
            if let Ok(head) = head(&mut from) {
                let _ = some(&mut from, &head, 100);
            }
        }
    }
}
