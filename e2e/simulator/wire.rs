//! The MySQL protocol, as far as the recordings show it.
//!
//! Written here because the server crates know MySQL's own error codes only: `MatrixOne` answers 20101, 20406 or 20637,
//! and SQLSTATE HY000 where MySQL says 42000.

use std::io;

use sha1::{Digest as _, Sha1};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Of both versions, heading "Greeting…".
const CAPABILITIES: u32 = 0x013b_a68f;
const CONNECT_WITH_DB: u32 = 0x0000_0008;
const SECURE_CONNECTION: u32 = 0x0000_8000;
const PLUGIN_AUTH_LENENC: u32 = 0x0020_0000;
const DEPRECATE_EOF: u32 = 0x0100_0000;
const CHARSET: u8 = 46;
const BINARY: u16 = 63;
/// MatrixOne's constant 0x0810 with "autocommit".
pub const AUTOCOMMIT: u16 = 0x0812;
/// In a transaction, too.
pub const IN_TRANSACTION: u16 = 0x0813;

/// Type of a column, by its number in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Long,
    LongLong,
    Timestamp,
    DateTime,
    Tiny,
    Blob,
    VarString,
    /// What v1.2.4 says of `snapshot_id`.
    Uuid,
}

impl Kind {
    const fn number(self) -> u8 {
        match self {
            Self::Tiny => 1,
            Self::Long => 3,
            Self::Timestamp => 7,
            Self::LongLong => 8,
            Self::DateTime => 12,
            Self::Uuid => 243,
            Self::Blob => 252,
            Self::VarString => 253,
        }
    }

    const fn length(self) -> u32 {
        match self {
            Self::Tiny => 8,
            Self::Long => 32,
            Self::Timestamp | Self::LongLong | Self::DateTime => 64,
            Self::Uuid | Self::Blob | Self::VarString => 0,
        }
    }

    const fn charset(self) -> u16 {
        match self {
            Self::VarString | Self::Blob | Self::Uuid => CHARSET as u16,
            Self::Tiny | Self::Long | Self::Timestamp | Self::LongLong | Self::DateTime => BINARY,
        }
    }
}

/// Name and type of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
}

/// Cells as text; `None` is NULL.
pub type Row = Vec<Option<String>>;

/// What a statement is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Ok { status: u16 },
    Rows { columns: Vec<Column>, rows: Vec<Row> },
    Error { code: u16, text: String },
}

/// How a client introduces itself.
#[derive(Debug)]
pub struct Login {
    pub user: String,
    pub proof: Vec<u8>,
    pub database: Option<String>,
    capabilities: u32,
}

/// One client's connection.
pub struct Wire {
    stream: TcpStream,
    sequence: u8,
    capabilities: u32,
}

impl Wire {
    pub const fn new(stream: TcpStream) -> Self {
        Self { stream, sequence: 0, capabilities: 0 }
    }

    /// Sends the greeting and reads the login.
    pub async fn greet(&mut self, version: &str, id: u32, salt: &[u8; 20]) -> io::Result<Login> {
        let [a, b, c, d] = CAPABILITIES.to_le_bytes();
        let mut body = vec![10];
        body.extend(version.as_bytes());
        body.push(0);
        body.extend(id.to_le_bytes());
        body.extend(&salt[..8]);
        body.extend([0, a, b, CHARSET, 0x02, 0x00, c, d, 21]);
        body.extend([0; 10]);
        body.extend(&salt[8..]);
        body.push(0);
        body.extend(b"mysql_native_password\0");
        self.send(&body).await?;
        let packet = self.read().await?;
        let login = parse_login(&packet).ok_or_else(|| io::Error::other("the login packet is cut"))?;
        self.capabilities = login.capabilities;
        Ok(login)
    }

    /// The next command: its number and what follows.
    pub async fn command(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let packet = self.read().await?;
        match packet.split_first() {
            Some((&command, rest)) => Ok((command, rest.to_vec())),
            None => Err(io::Error::other("an empty packet")),
        }
    }

    /// Sends a reply to the end.
    pub async fn reply(&mut self, reply: &Reply) -> io::Result<()> {
        match reply {
            Reply::Ok { status } => self.send(&ok_packet(0x00, *status)).await,
            Reply::Error { code, text } => {
                let [low, high] = code.to_le_bytes();
                let mut body = vec![0xff, low, high, b'#'];
                body.extend(if *code == 1045 { b"28000" } else { b"HY000" });
                body.extend(text.as_bytes());
                self.send(&body).await
            }
            Reply::Rows { columns, rows } => {
                self.send(&lenenc(columns.len())).await?;
                for column in columns {
                    self.send(&definition(column)).await?;
                }
                let modern = self.capabilities & DEPRECATE_EOF != 0;
                if !modern {
                    self.send(&[0xfe, 0, 0, 2, 0]).await?;
                }
                for row in rows {
                    self.send(&row.iter().flat_map(|cell| cell_bytes(cell.as_deref())).collect::<Vec<_>>()).await?;
                }
                self.send(&if modern { ok_packet(0xfe, AUTOCOMMIT) } else { vec![0xfe, 0, 0, 2, 0] }).await
            }
        }
    }

    /// Returns when the client has closed its end. What it sends meanwhile stays unread.
    pub async fn gone(&self) {
        let mut byte = [0];
        match self.stream.peek(&mut byte).await {
            Ok(0) | Err(_) => {}
            Ok(_) => std::future::pending().await,
        }
    }

    /// Drops the connection without a word: the client sees a reset.
    pub fn reset(self) {
        // A failure leaves an orderly close, which the client takes for a lost connection, too.
        let _ = self.stream.set_zero_linger();
    }

    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.stream.read_exact(&mut header).await?;
        let [a, b, c, sequence] = header;
        let mut body = vec![0; usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16];
        self.stream.read_exact(&mut body).await?;
        self.sequence = sequence.wrapping_add(1);
        Ok(body)
    }

    async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        let [a, b, c, ..] = body.len().to_le_bytes();
        let mut packet = vec![a, b, c, self.sequence];
        packet.extend(body);
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&packet).await
    }
}

/// Whether the proof of a `mysql_native_password` login is of this password.
pub fn proves(proof: &[u8], password: &str, salt: &[u8; 20]) -> bool {
    if password.is_empty() {
        return proof.is_empty();
    }
    let first = Sha1::digest(password.as_bytes());
    let second = Sha1::digest(first);
    let mask = Sha1::new().chain_update(salt).chain_update(second).finalize();
    let expected: Vec<u8> = first.iter().zip(mask.iter()).map(|(a, b)| a ^ b).collect();
    proof == expected
}

fn parse_login(packet: &[u8]) -> Option<Login> {
    let capabilities = u32::from_le_bytes(packet.get(..4)?.try_into().ok()?);
    let rest = packet.get(32..)?;
    let (user, rest) = text(rest)?;
    if capabilities & (PLUGIN_AUTH_LENENC | SECURE_CONNECTION) == 0 {
        return None;
    }
    // Both forms begin with one length byte: a proof has 20 bytes.
    let (&length, rest) = rest.split_first()?;
    let proof = rest.get(..usize::from(length))?.to_vec();
    let rest = rest.get(usize::from(length)..)?;
    let database = if capabilities & CONNECT_WITH_DB == 0 { None } else { text(rest).map(|(name, _)| name) };
    Some(Login { user, proof, database: database.filter(|name| !name.is_empty()), capabilities })
}

fn text(bytes: &[u8]) -> Option<(String, &[u8])> {
    let end = bytes.iter().position(|b| *b == 0)?;
    Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), &bytes[end + 1..]))
}

fn ok_packet(header: u8, status: u16) -> Vec<u8> {
    let [low, high] = status.to_le_bytes();
    vec![header, 0, 0, low, high, 0, 0]
}

fn definition(column: &Column) -> Vec<u8> {
    let mut body = Vec::new();
    for text in ["def", "", "", "", &column.name, ""] {
        body.extend(cell_bytes(Some(text)));
    }
    body.push(0x0c);
    body.extend(column.kind.charset().to_le_bytes());
    body.extend(column.kind.length().to_le_bytes());
    body.push(column.kind.number());
    body.extend([0; 5]);
    body
}

fn cell_bytes(cell: Option<&str>) -> Vec<u8> {
    let Some(text) = cell else { return vec![0xfb] };
    let mut bytes = lenenc(text.len());
    bytes.extend(text.as_bytes());
    bytes
}

fn lenenc(value: usize) -> Vec<u8> {
    let [a, b, c, ..] = value.to_le_bytes();
    match value {
        0..=0xfa => vec![a],
        0xfb..=0xffff => vec![0xfc, a, b],
        _ => vec![0xfd, a, b, c],
    }
}
