//! The first packet of a MySQL server: who answers, before any secret is sent.

/// What the first packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// Version text, such as `8.0.30-MatrixOne-v4.2.0`.
    pub version: String,
    /// Whether the server offers TLS.
    pub tls: bool,
}

/// No first packet is longer; what claims to be is no MySQL server.
pub(super) const LONGEST: usize = 4096;

const PROTOCOL: u8 = 10;
const CLIENT_SSL: u16 = 0x0800;

/// Length of the packet's body, from its header of four bytes; `None` when it cannot be a greeting.
pub(super) fn body_length(header: [u8; 4]) -> Option<usize> {
    let [a, b, c, sequence] = header;
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    (sequence == 0 && (1..=LONGEST).contains(&length)).then_some(length)
}

/// Reads the body: protocol 10, version and NUL, connection id (4), salt (8), filler (1), lower capabilities (2) …
pub(super) fn parse(body: &[u8]) -> Option<Greeting> {
    let (&PROTOCOL, rest) = body.split_first()? else { return None };
    let end = rest.iter().position(|b| *b == 0)?;
    let version = std::str::from_utf8(&rest[..end]).ok()?.to_owned();
    let flags = rest.get(end + 14..end + 16)?;
    let tls = u16::from_le_bytes([flags[0], flags[1]]) & CLIENT_SSL != 0;
    Some(Greeting { version, tls })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(version: &str, capabilities: u16) -> Vec<u8> {
        let mut body = vec![PROTOCOL];
        body.extend(version.as_bytes());
        body.extend([0, 77, 1, 0, 0]);
        body.extend(*b"saltsalt");
        body.push(0);
        body.extend(capabilities.to_le_bytes());
        body.extend([46, 2, 0]);
        body
    }

    #[test]
    fn a_greeting_says_version_and_tls() {
        let version = "8.0.30-MatrixOne-v4.2.0";
        for (capabilities, tls) in [(0xa68f, false), (0xae8f, true)] {
            let greeting = Greeting { version: version.into(), tls };
            assert_eq!(parse(&packet(version, capabilities)), Some(greeting));
        }
    }

    #[test]
    fn what_is_cut_or_something_else_is_no_greeting() {
        let whole = packet("8.0.30-MatrixOne-v4.2.0", 0);
        for length in 0..whole.len() - 3 {
            assert_eq!(parse(&whole[..length]), None, "{length}");
        }
        assert_eq!(parse(b"HTTP/1.1 400 Bad Request\r\n"), None);
        assert_eq!(body_length(*b"HTTP"), None);
        assert_eq!(body_length([0x4a, 0, 0, 0]), Some(0x4a));
    }
}
