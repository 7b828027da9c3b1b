//! What to say to MatrixOne, and what it answers.

pub mod error;
mod greeting;
pub mod reply;
pub mod session;
pub mod statement;

use async_trait::async_trait;

pub use error::{Error, Problem};
pub use reply::Version;
pub use session::{Encryption, MatrixOne};
pub use statement::{Ask, BackupTarget, S3Target, Statement, Table};

/// Rows of a reply in text, `None` for NULL. A reply without rows is empty.
pub type Rows = Vec<Vec<Option<String>>>;

/// A MatrixOne server that can be connected to.
#[async_trait]
pub trait Server: Send + Sync {
    /// Opens a session, within a bounded time.
    async fn connect(&self) -> Result<Box<dyn Session>, Error>;
}

/// A session. Statements are sent in the text protocol, one at a time.
#[async_trait]
pub trait Session: Send {
    /// Sends a statement and waits for its reply, however long it takes.
    async fn run(&mut self, statement: &Statement) -> Result<Rows, Error>;
    /// Sends a statement and hears of each row how many bytes its values have. No two rows are held at a time, however
    /// many there are.
    async fn read(&mut self, statement: &Statement, row: &mut (dyn FnMut(u64) + Send)) -> Result<(), Error>;
    /// The id by which another session can kill this one's statement.
    fn connection_id(&self) -> u32;
    /// The version text of the greeting, such as `8.0.30-MatrixOne-v4.2.0`.
    fn greeting(&self) -> &str;
}
