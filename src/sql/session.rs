//! Sessions with a real server, over `mysql_async`: this room's only I/O.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use mysql_async::{Conn, OptsBuilder, Row, SslOpts, Value, prelude::Queryable as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    time::{Instant, timeout_at},
};

use super::{Error, Problem, Rows, Server, Session, Statement, error, greeting, greeting::Greeting};

/// Limit of one connect, from name look-up to a session that answers. Shorter than the first look of a worker, so that it
/// can say how far it came.
const CONNECT: Duration = Duration::from_secs(8);
/// After so long the beginning of TLS is tried again, with twice the patience.
const HANDSHAKE: Duration = Duration::from_millis(500);
/// A BACKUP sends no byte until it is done: without keepalive a middle box would drop the connection.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Whether the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Never.
    Disabled,
    /// When the server offers it. The certificate is verified when authorities are given.
    Preferred,
    /// Always, with a verified certificate.
    Required,
}

/// A MatrixOne server and how to log in to it.
#[derive(Clone)]
pub struct MatrixOne {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User: `root`, `sys#root` or `sys#root#moadmin`.
    pub user: String,
    /// Password.
    pub password: SecretString,
    /// Encryption.
    pub encryption: Encryption,
    /// Authorities to trust in PEM, instead of the built-in ones.
    pub authorities: Option<Vec<u8>>,
    /// Name in the certificate, when it is not the host.
    pub server_name: Option<String>,
}

impl fmt::Debug for MatrixOne {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MatrixOne({}:{})", self.host, self.port)
    }
}

struct Open {
    conn: Conn,
    greeting: String,
}

#[async_trait]
impl Server for MatrixOne {
    async fn connect(&self) -> Result<Box<dyn Session>, Error> {
        Ok(Box::new(self.open(Instant::now() + CONNECT).await?))
    }
}

impl MatrixOne {
    async fn open(&self, end: Instant) -> Result<Open, Error> {
        // Asked for on a connection of its own, because the driver shows neither the text nor the flag; and a stranger
        // must not be sent a login.
        let Greeting { version, tls } = self.greet(end).await?;
        if !version.contains("MatrixOne") {
            return Err(self.failed(Problem::NotMatrixOne, &format!("the server calls itself {version:?}")));
        }
        let secure = match self.encryption {
            Encryption::Disabled => false,
            Encryption::Preferred => tls,
            Encryption::Required if !tls => {
                return Err(self.failed(Problem::TlsUnavailable, "the server does not offer TLS"));
            }
            Encryption::Required => true,
        };
        let options = OptsBuilder::default()
            .ip_or_hostname(self.host.clone())
            .tcp_port(self.port)
            .user(Some(self.user.clone()))
            .pass(Some(self.password.expose_secret().to_owned()))
            .ssl_opts(secure.then(|| self.ssl_options()))
            // MatrixOne names /tmp/mysql.sock whatever its configuration: it could be another server's.
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(0);
        let conn = if secure { self.encrypted(end, options).await? } else { self.log_in(end, options).await? };
        Ok(Open { conn: conn.map_err(|e| self.login_error(&e))?, greeting: version })
    }

    async fn log_in(&self, end: Instant, options: OptsBuilder) -> Result<mysql_async::Result<Conn>, Error> {
        self.within(end, "it greets, and does not answer the login", Conn::new(options)).await
    }

    /// When our wish for TLS and what begins it reach MatrixOne in one piece, as they do when it is busy, it loses the
    /// latter and waits for it in silence (executed on 1.2.4 and 4.2.0). Nothing was said then, so it is tried again.
    async fn encrypted(&self, end: Instant, options: OptsBuilder) -> Result<mysql_async::Result<Conn>, Error> {
        let mut patience = HANDSHAKE;
        while Instant::now() + patience < end {
            if let Ok(done) = timeout_at(Instant::now() + patience, Conn::new(options.clone())).await {
                return Ok(done);
            }
            patience *= 2;
        }
        self.log_in(end, options).await
    }

    /// One step of a connect. When the time for all of them is over, it is said how far it came.
    async fn within<T>(&self, end: Instant, how_far: &str, step: impl Future<Output = T>) -> Result<T, Error> {
        let late = |_| self.failed(Problem::Unreachable, &format!("{how_far} within {} seconds", CONNECT.as_secs()));
        timeout_at(end, step).await.map_err(late)
    }

    fn ssl_options(&self) -> SslOpts {
        let unverified = self.encryption != Encryption::Required && self.authorities.is_none();
        let options = SslOpts::default().with_danger_accept_invalid_certs(unverified);
        let options = match &self.authorities {
            Some(pem) => options.with_disable_built_in_roots(true).with_root_certs(vec![pem.clone().into()]),
            None => options,
        };
        options.with_danger_tls_hostname_override(self.server_name.clone())
    }

    async fn greet(&self, end: Instant) -> Result<Greeting, Error> {
        let connecting = TcpStream::connect((self.host.as_str(), self.port));
        let stream = self.within(end, "nobody answers there, or the name is not resolved,", connecting).await?;
        let stream = stream.map_err(|e| self.failed(Problem::Unreachable, &e.to_string()))?;
        let silent = "it accepts the connection and does not greet, as MatrixOne would,";
        self.within(end, silent, self.greeting_from(stream)).await?
    }

    async fn greeting_from(&self, mut stream: TcpStream) -> Result<Greeting, Error> {
        let mut header = [0; 4];
        // A proxy without a server behind it accepts and closes at once.
        let closed = |e: std::io::Error| self.failed(Problem::Unreachable, &format!("no greeting: {e}"));
        stream.read_exact(&mut header).await.map_err(closed)?;
        let stranger = || self.failed(Problem::NotMatrixOne, "what answers does not speak the MySQL protocol");
        let mut body = vec![0; greeting::body_length(header).ok_or_else(stranger)?];
        stream.read_exact(&mut body).await.map_err(closed)?;
        if body[0] == 0xff {
            let said = String::from_utf8_lossy(body.get(3..).unwrap_or_default()).into_owned();
            return Err(self.failed(Problem::Unreachable, &said));
        }
        greeting::parse(&body).ok_or_else(stranger)
    }

    /// What we or the operating system say: it holds no secret, and must not be searched for a short one.
    fn failed(&self, problem: Problem, detail: &str) -> Error {
        let verb = format!("connect to {}:{}", self.host, self.port);
        Error { problem, verb, code: 0, detail: error::presentable(detail, &[]) }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the library's errors; new ones are like the unknown ones")]
    fn login_error(&self, error: &mysql_async::Error) -> Error {
        match error {
            mysql_async::Error::Server(e) => {
                let problem = match error::classify(e.code, &e.message) {
                    // Whatever else a server says to a login is about the login.
                    Problem::Refused | Problem::Privilege => Problem::Login,
                    problem => problem,
                };
                let detail = error::presentable(&e.message, &[&self.password]);
                Error { code: e.code, detail, ..self.failed(problem, "") }
            }
            other if untrusted(other) => self.failed(Problem::TlsUntrusted, &root_cause(other)),
            other => self.failed(Problem::Unreachable, &root_cause(other)),
        }
    }
}

#[async_trait]
impl Session for Open {
    async fn run(&mut self, statement: &Statement) -> Result<Rows, Error> {
        let text = statement.text();
        let rows = self.conn.query::<Row, _>(text.expose_secret()).await.map_err(|e| answered(statement, &e))?;
        Ok(rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(|value| cell(value?)).collect()).collect())
    }

    async fn read(&mut self, statement: &Statement, row: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error> {
        let text = statement.text();
        let mut rows = self.conn.query_iter(text.expose_secret()).await.map_err(|e| answered(statement, &e))?;
        while let Some(found) = rows.next().await.map_err(|e| answered(statement, &e))? {
            row(found.unwrap_raw().iter().flatten().map(length).sum());
        }
        Ok(())
    }

    fn connection_id(&self) -> u32 {
        self.conn.id()
    }

    fn greeting(&self) -> &str {
        &self.greeting
    }
}

/// What kept a statement from its answer. The server can echo the statement, and its keys with it.
#[expect(clippy::wildcard_enum_match_arm, reason = "whatever is no answer of the server leaves the end unknown")]
fn answered(statement: &Statement, error: &mysql_async::Error) -> Error {
    let (problem, code, detail) = match error {
        mysql_async::Error::Server(e) => {
            let detail = error::presentable(&e.message, &statement.secrets());
            (error::classify(e.code, &e.message), e.code, detail)
        }
        other => (Problem::Lost, 0, error::presentable(&root_cause(other), &[])),
    };
    Error { problem, verb: statement.verb().into(), code, detail }
}

/// Length of a value in the text protocol, which has no other kind than bytes.
fn length(value: &Value) -> u64 {
    match value {
        Value::Bytes(bytes) => bytes.len() as u64,
        Value::NULL
        | Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Date(..)
        | Value::Time(..) => 0,
    }
}

fn cell(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        other @ (Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Double(_)
        | Value::Date(..)
        | Value::Time(..)) => Some(other.as_sql(true)),
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// A failed handshake reaches us as an I/O error around the verdict on the certificate, or what the server said of it.
fn untrusted(error: &mysql_async::Error) -> bool {
    let text = format!("{error} {}", root_cause(error));
    let signs = ["invalid peer certificate", "invalid dns name", "received fatal alert", "peer is incompatible"];
    signs.iter().any(|sign| text.to_lowercase().contains(sign))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    /// A greeting as a server sends it: header, protocol, version, connection id, salt, filler, capabilities …
    fn greeting(version: &str) -> Vec<u8> {
        let mut body = vec![10];
        body.extend(version.as_bytes());
        body.extend([0, 9, 0, 0, 0]);
        body.extend(*b"saltsalt\0");
        body.extend([0x8f, 0xa6, 46, 2, 0]);
        let length = u8::try_from(body.len()).unwrap();
        [&[length, 0, 0, 0], &body[..]].concat()
    }

    /// One that a driver answers with a login.
    fn whole_greeting() -> Vec<u8> {
        let mut body = b"\x0a8.0.30-MatrixOne-v4.2.0\0\x07\0\0\0saltsalt\0\xff\xf7\x2e\x02\0\xff\xdf\x15".to_vec();
        body.extend([0; 10]);
        body.extend(b"saltsaltsalt\0mysql_native_password\0");
        [&[u8::try_from(body.len()).unwrap(), 0, 0, 0], &body[..]].concat()
    }

    fn server(port: u16, encryption: Encryption) -> MatrixOne {
        MatrixOne {
            host: "127.0.0.1".into(),
            port,
            user: "root".into(),
            password: SecretString::from("CANARY"),
            encryption,
            authorities: None,
            server_name: None,
        }
    }

    /// What a server that says this, and hangs up on the first word it hears, is taken for.
    async fn taken_for(said: Vec<u8>, encryption: Encryption) -> Problem {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                if stream.write_all(&said).await.is_ok() && !said.is_empty() {
                    // The end of the client's side counts as a word.
                    let _heard = stream.read(&mut [0; 1024]).await;
                }
            }
        });
        let Err(error) = server(port, encryption).connect().await else { panic!("connected") };
        serving.abort();
        assert!(!error.to_string().contains("CANARY"), "{error}");
        error.problem
    }

    #[rstest]
    #[case::http(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Encryption::Preferred, Problem::NotMatrixOne)]
    #[case::mysql(greeting("8.4.2"), Encryption::Preferred, Problem::NotMatrixOne)]
    #[case::silent_close(Vec::new(), Encryption::Preferred, Problem::Unreachable)]
    #[case::no_tls(greeting("8.0.30-MatrixOne-v4.2.0"), Encryption::Required, Problem::TlsUnavailable)]
    #[case::hangs_up(greeting("8.0.30-MatrixOne-v4.2.0"), Encryption::Disabled, Problem::Unreachable)]
    #[tokio::test]
    async fn who_answers_is_found_out(
        #[case] said: Vec<u8>,
        #[case] encryption: Encryption,
        #[case] expected: Problem,
    ) {
        assert_eq!(taken_for(said, encryption).await, expected);
    }

    /// The clock stands still from the moment of silence, so that the wait takes no time.
    #[rstest]
    #[case::nothing_said(Vec::new(), "does not greet")]
    #[case::half_a_greeting(b"\x4a\0\0\0\x0a8.0".to_vec(), "does not greet")]
    #[case::no_answer_to_the_login(whole_greeting(), "does not answer the login")]
    #[tokio::test]
    async fn a_server_that_falls_silent_is_given_up(#[case] said: Vec<u8>, #[case] how_far: &'static str) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let mut open = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(&said).await.unwrap();
                // The first connection asks who is there, the second logs in.
                let last = open.len() == usize::from(how_far.contains("login"));
                if last {
                    let heard = if open.is_empty() { 1 } else { stream.read(&mut [0; 1024]).await.unwrap() };
                    assert!(heard > 0, "no login");
                    tokio::time::pause();
                }
                open.push(stream);
            }
        });
        let begun = Instant::now();
        let Err(error) = server(port, Encryption::Disabled).connect().await else { panic!("connected") };
        serving.abort();
        assert_eq!(error.problem, Problem::Unreachable);
        assert!(error.detail.contains(how_far), "{error}");
        assert!(begun.elapsed() <= CONNECT + Duration::from_secs(1), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let Err(error) = server(port, Encryption::Preferred).connect().await else { panic!("connected") };
        assert_eq!(error.problem, Problem::Unreachable);
        assert!(error.to_string().contains(&port.to_string()));
    }
}
