//! The tests of the `MatrixOne` double itself: seconds, no cluster, loopback only.

#[path = "simulator/tests/backup.rs"]
mod backup;
#[path = "simulator/tests/faults.rs"]
mod faults;
#[allow(dead_code, unused_imports, reason = "the double offers more than any one target uses")]
mod simulator;
#[path = "simulator/tests/statements.rs"]
mod statements;

use mo_backup::sql::{Encryption, MatrixOne, Server as _, Session};
use mysql_async::{Conn, OptsBuilder, Row, prelude::Queryable as _};
use simulator::{Options, Simulator, Version};

const BOTH: [Version; 2] = [Version::V1_2_4, Version::V4_2_0];

fn start(version: Version, options: Options) -> Simulator {
    Simulator::start(version, options).unwrap()
}

/// A session by the product's own code.
async fn product(simulator: &Simulator, user: &str, password: &str) -> Result<Box<dyn Session>, mo_backup::sql::Error> {
    let server = MatrixOne {
        host: "127.0.0.1".into(),
        port: simulator.port,
        user: user.into(),
        password: password.to_owned().into(),
        encryption: Encryption::Preferred,
        authorities: None,
        server_name: None,
    };
    server.connect().await
}

/// A plain session.
async fn connect(simulator: &Simulator, user: &str) -> Conn {
    let options = OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(simulator.port)
        .user(Some(user))
        .pass(Some("111"))
        .prefer_socket(false);
    Conn::new(options).await.unwrap()
}

/// The rows of a statement, or its error as `code text`; `lost` without either.
async fn ask(conn: &mut Conn, statement: &str) -> Result<Vec<Vec<String>>, String> {
    let rows = conn.query::<Row, _>(statement).await.map_err(|e| match e {
        mysql_async::Error::Server(e) => format!("{} {}", e.code, e.message),
        _ => "lost".to_owned(),
    })?;
    let cell = |value: Option<mysql_async::Value>| match value {
        Some(mysql_async::Value::Bytes(bytes)) => String::from_utf8(bytes).unwrap(),
        other => format!("{other:?}"),
    };
    Ok(rows.into_iter().map(|row| row.unwrap_raw().into_iter().map(cell).collect()).collect())
}
