//! What the recordings show, each with its place. `tests::every_fact_is_in_its_recording` holds this file to them.

use super::{Version, wire::Reply};

/// A heading of a recording.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub version: Version,
    /// The heading without its hashes.
    pub heading: &'static str,
}

/// A recorded text, with `{}` where it depends on the statement.
#[derive(Debug)]
pub struct Fact {
    /// Code of an error; 0 for values.
    pub code: u16,
    pub text: &'static str,
    pub places: &'static [Place],
}

impl Fact {
    /// The text with its gaps filled and its line ends, which the recordings write as `\n`.
    pub fn fill(&self, values: &[&str]) -> String {
        let text = self.text.replace("\\n", "\n");
        values.iter().fold(text, |text, value| text.replacen("{}", value, 1))
    }

    /// The error.
    pub fn error(&self, values: &[&str]) -> Reply {
        Reply::Error { code: self.code, text: self.fill(values) }
    }
}

const fn v1(heading: &'static str) -> Place {
    Place { version: Version::V1_2_4, heading }
}

const fn v4(heading: &'static str) -> Place {
    Place { version: Version::V4_2_0, heading }
}

macro_rules! facts {
    ($($name:ident = $code:literal $text:literal [$($place:expr),+];)+) => {
        $(pub const $name: Fact = Fact { code: $code, text: $text, places: &[$($place),+] };)+
        /// All of them.
        pub const ALL: &[&Fact] = &[$(&$name),+];
    };
}

const LOGIN_1: &str = "Greeting, unsupported commands, users made for the test, logins";
const LOGIN_4: &str = "Greeting, logins";
const STATUS: &str = "Status statements";
const CTL: &str = "mo_ctl";
const SESSIONS: &str = "Sessions, unknown ids, unknown things";
const CHECKERS: &str = "Checkers again: the third part is needed, its text is not looked at";
const CATALOG_1: &str = "Snapshots, PITR, accounts, versions";
const CATALOG_4: &str = "Snapshots and PITR policies, as read after a BACKUP";
const RIGHTS: &str = "Rights";
const IDENTITY: &str = "What tells clusters apart";
const FOLDERS_1: &str = "Target directories";
const ERRORS_4: &str = "BACKUP: syntax, path and privilege errors";
const SYNTAX_1: &str = "Syntax";
const FULL_4: &str = "BACKUP: full, targets, S3 options";
const RUNNING_1: &str = "KILL QUERY, KILL and disconnect during the copy";
const RUNNING_4: &str = "BACKUP: credentials, bucket, disk full, two at a time, KILL, disconnect";
const S3_1: &str = "Endpoint forms, credentials, buckets, file paths";

facts! {
    // Logins.
    WRONG_PASSWORD = 1045 "Access denied for user {}. internal error: check password failed" [v1(LOGIN_1), v4(LOGIN_4)];
    NO_USER = 20101 "internal error: there is no user {}" [v1(LOGIN_1), v4(LOGIN_4)];
    NO_ACCOUNT = 20101 "internal error: there is no tenant {}" [v1(LOGIN_1), v4(LOGIN_4)];
    NO_ROLE = 20101 "internal error: there is no role {}" [v1(LOGIN_1)];
    NO_DATABASE = 1049 "invalid database {}" [v1(LOGIN_1)];
    UNSUPPORTED_COMMAND = 20101 "internal error: unsupported command. 0x{}" [v1(LOGIN_1), v4(LOGIN_4)];

    // Statements nobody knows, and things that are not there.
    SYNTAX_ERROR = 1064 "SQL parser error: You have an error in your SQL syntax; check the manual that corresponds to your MatrixOne server version for the right syntax to use. syntax error at line 1 column {} near \"{}\";" [v1(SESSIONS), v4(SESSIONS)];
    NO_TABLE = 1064 "SQL parser error: table \"{}\" does not exist" [v1(CATALOG_1), v1(RIGHTS)];
    NO_CONNECTION = 20101 "internal error: Unknown connection id {}" [v1(SESSIONS), v4(SESSIONS)];
    NO_PRIVILEGE = 20101 "internal error: do not have privilege to execute the statement" [v1(RIGHTS), v4(CTL), v4(ERRORS_4)];

    // mo_ctl.
    SNAPSHOT = 0 r#"{\n  "method": "GETSNAPSHOT",\n  "result": "{}"\n}\n"# [v1(CTL), v4(CTL)];
    DONE = 0 r#"{\n  "method": "{}",\n  "result": [\n    {\n      "returnStr": "OK"\n    }\n  ]\n}\n"# [v1(CTL), v4(CTL)];
    BAD_DURATION = 1105 "time: invalid duration \"{}\"" [v1(CTL), v4(CTL)];
    NO_COMMAND = 20105 "not supported: command {} not supported" [v1(CTL), v4(CTL)];
    NO_SERVICE = 20105 "not supported: service type {} not supported" [v1(CTL), v4(CTL)];
    BAD_CLEANER_ARGUMENT = 20101 "internal error: handleDiskCleaner: invalid argument!" [v1(CTL), v1(CHECKERS)];
    BAD_CLEANER_KEY = 20101 "internal error: handleDiskCleaner: invalid key!" [v1(CTL)];
    BAD_CLEANER_OPERATION = 20101 "internal error: handleDiskCleaner: invalid operation!" [v4(CTL)];
    BAD_MIN_TS = 20203 "invalid argument min_ts, bad value {}" [v1(CTL), v1(CHECKERS)];
    CHECKER_PANIC = 20101 r"internal error: panic runtime error: index out of range [2] with length 2: \n<Go stack trace" [v1(CTL)];
    NO_CHECKER = 20637 "can't delete gc checker" [v1(CHECKERS), v4(CTL)];

    // Values.
    GIT_VERSION_1 = 0 "v1.2.4" [v1(STATUS)];
    GIT_VERSION_4 = 0 "01ae8eca8" [v4(STATUS)];
    BORN_A = 0 "1795228198213" [v1(IDENTITY)];
    BORN_B = 0 "1795229014606" [v1(IDENTITY)];
    CREATED_1_A = 0 "2026-11-21 02:30:10" [v1(IDENTITY), v1(CATALOG_1)];
    CREATED_1_B = 0 "2026-11-21 02:43:47" [v1(IDENTITY)];
    CREATED_4 = 0 "2026-11-21 00:09:10" [v4(STATUS)];
    NODE = 0 "dd1dccb4-4d3c-41f8-b482-5251dc7a41bf" [v1(SESSIONS), v4(SESSIONS)];

    // Columns, as `name TYPE`.
    SESSION_COLUMNS = 0 "node_id VAR_STRING, conn_id LONG(32), session_id VAR_STRING, account VAR_STRING, user VAR_STRING, host VAR_STRING, db VAR_STRING, session_start VAR_STRING, command VAR_STRING, info VAR_STRING, txn_id VAR_STRING, statement_id VAR_STRING, statement_type VAR_STRING, query_type VAR_STRING, sql_source_type VAR_STRING, query_start VAR_STRING, client_host VAR_STRING, role VAR_STRING, proxy_host VAR_STRING" [v1(SESSIONS), v4(SESSIONS)];
    SHOW_SNAPSHOTS = 0 "SNAPSHOT_NAME VAR_STRING, TIMESTAMP VAR_STRING, SNAPSHOT_LEVEL VAR_STRING, ACCOUNT_NAME VAR_STRING, DATABASE_NAME VAR_STRING, TABLE_NAME VAR_STRING" [v1(CATALOG_1), v4(CATALOG_4)];
    SNAPSHOT_COLUMNS_1 = 0 "snapshot_id 243, sname VAR_STRING, ts LONGLONG(64), level VAR_STRING, account_name VAR_STRING, database_name VAR_STRING, table_name VAR_STRING, obj_id LONGLONG(64)" [v1(CATALOG_1)];
    SNAPSHOT_COLUMNS_4 = 0 "snapshot_id VAR_STRING, sname VAR_STRING, ts LONGLONG(64), level VAR_STRING, account_name VAR_STRING, database_name VAR_STRING, table_name VAR_STRING, obj_id LONGLONG(64), kind VAR_STRING" [v4(CATALOG_4)];
    SHOW_PITR = 0 "PITR_NAME VAR_STRING, CREATED_TIME DATETIME(64), MODIFIED_TIME DATETIME(64), PITR_LEVEL VAR_STRING, ACCOUNT_NAME VAR_STRING, DATABASE_NAME VAR_STRING, TABLE_NAME VAR_STRING, PITR_LENGTH CHAR(8), PITR_UNIT VAR_STRING" [v4(CATALOG_4)];
    PITR_COLUMNS = 0 "pitr_id VAR_STRING, pitr_name VAR_STRING, create_account LONGLONG(64), create_time LONGLONG(64), modified_time LONGLONG(64), level VAR_STRING, account_id LONGLONG(64), account_name VAR_STRING, database_name VAR_STRING, table_name VAR_STRING, obj_id LONGLONG(64), pitr_length CHAR(8), pitr_unit VAR_STRING, pitr_status CHAR(8), pitr_status_changed_time LONGLONG(64), kind VAR_STRING" [v4(CATALOG_4)];
    ACCOUNT_COLUMNS = 0 "account_id LONG(32), account_name VAR_STRING, admin_name VAR_STRING, status VAR_STRING, created_time TIMESTAMP(64), version LONGLONG(64)" [v1(CATALOG_1), v4(STATUS)];
    CRON_COLUMNS = 0 "cron_task_id LONGLONG(64), task_metadata_id VAR_STRING, create_at LONGLONG(64), update_at LONGLONG(64)" [v1(IDENTITY)];

    // BACKUP.
    IN_TRANSACTION = 20101 "internal error: unclassified statement appears in uncommitted transaction" [v1(SYNTAX_1), v4(ERRORS_4)];
    NOT_A_NUMBER = 1105 "strconv.ParseUint: parsing \"{}\": invalid syntax" [v1(SYNTAX_1), v4(ERRORS_4)];
    NUMBER_TOO_LARGE = 1105 "strconv.ParseUint: parsing \"{}\": value out of range" [v1(SYNTAX_1), v4(ERRORS_4)];
    BAD_TIMESTAMP = 20101 "internal error: panic format of ts must be physical-logical: " [v1("Incremental"), v4(ERRORS_4)];
    COLON_IN_PATH = 20422 "service {} not found" [v1(FOLDERS_1), v4(ERRORS_4)];
    BAD_PATH = 20411 "invalid file path {}/_" [v1(FOLDERS_1), v1(S3_1), v4(ERRORS_4), v4(RUNNING_4)];
    EMPTY_PATH = 1105 "open : no such file or directory" [v1(FOLDERS_1), v4(ERRORS_4)];
    NO_MKDIR = 1105 "mkdir {}: no such file or directory" [v1(FOLDERS_1), v4(ERRORS_4)];
    NOT_A_FOLDER = 1105 "open {}: not a directory" [v1(FOLDERS_1)];
    NO_SPACE = 1105 "write {}/.tmp.{}: no space left on device" [v1("no space (a 6 MB file system)"), v4(RUNNING_4)];
    EXISTS = 20406 "file {} already exists" [v1("Into a directory that holds a complete backup"), v1(S3_1), v4(ERRORS_4), v4(FULL_4)];
    CANCELED = 1105 "context canceled" [v1(RUNNING_1), v4(RUNNING_4)];
    KILLED_IN_CHECKPOINT = 20101 r"internal error: panic runtime error: index out of range [0] with length 0: \n<Go stack trace" [v1("KILL while the server is still making its checkpoint")];
    SECOND_BACKUP = 20101 r"internal error: panic runtime error: index out of range [1] with length 1: \n<Go stack trace" [v1("two BACKUPs at the same time")];

    // BACKUP to S3.
    BAD_KEYWORD = 20300 "invalid configuration: the keyword '{}' is not support" [v1(SYNTAX_1), v4(ERRORS_4)];
    BAD_IS_MINIO = 20300 "invalid configuration: the is_minio '{}' is not supported" [v1(SYNTAX_1), v4(ERRORS_4)];
    BAD_PARALLELISM = 20300 "invalid configuration: the parallelism '{}' is invalid" [v1(SYNTAX_1), v4(ERRORS_4)];
    BAD_REGION = 1105 "operation error S3: HeadObject, resolve auth scheme: resolve endpoint: endpoint rule error, Invalid region: region was not a valid DNS name." [v4(FULL_4)];
    NO_REGION = 1105 "operation error S3: HeadObject, https response error StatusCode: 400, RequestID: 37GMOKZLIDZPOSMB, HostID: lmGX0NLck95V4nMYz1eVp26+13uPOomulOrUovZ47v7+dr+yqogArbsjzHIdBKgA6Kg0IU6CP1oHWkuGjygnWko=, api error BadRequest: Bad Request" [v1("S3OPTION: versitygw 1.8.0 at 127.0.0.1:48500, region us-east-1")];
    NO_KEYS_1 = 1105 "operation error S3: HeadObject, failed to sign request: failed to retrieve credentials: failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error StatusCode: 403, request to EC2 IMDS failed" [v1(S3_1)];
    NO_KEYS_4 = 1105 "operation error S3: HeadObject, get identity: get credentials: failed to refresh cached credentials, no EC2 IMDS role found, operation error ec2imds: GetMetadata, http response error StatusCode: 403, request to EC2 IMDS failed" [v4(RUNNING_4)];
    FORBIDDEN_1 = 1105 "operation error S3: HeadObject, https response error StatusCode: 403, RequestID: OQVNQQCNYSRZBG2B, HostID: thBCOpf7LhLkWPEg8oiNOzBBvHHxxBf7aqaV75QAE3xrAXYIRcfaiAVMSJb7b4NyXr7v5CAWieinE4NnMKLRnTs=, api error Forbidden: Forbidden" [v1(S3_1)];
    FORBIDDEN_4 = 1105 "operation error S3: HeadObject, https response error StatusCode: 403, RequestID: 18E9E7B049EB0680, HostID: 6c9c1b272fe6760748470e090db0a5146c93f0aa66a8e75df9c426a9aab2430a, api error Forbidden: Forbidden" [v4(RUNNING_4)];
    NO_BUCKET_1 = 1105 "operation error S3: PutObject, https response error StatusCode: 404, RequestID: BP1H1V0CG95CBN2P, HostID: CPXIvpdw4IgJ+I3+VNUyAfL6ElCvyQk0tK/JTK2rIZe8z5D1BZutv/E26tDm6XevyNUDDoU/LShXt98XegpuEMY=, api error NoSuchBucket: The specified bucket does not exist." [v1(S3_1)];
    NO_BUCKET_4 = 1105 "operation error S3: PutObject, https response error StatusCode: 404, RequestID: 18E9E7B04B30F128, HostID: 6c9c1b272fe6760748470e090db0a5146c93f0aa66a8e75df9c426a9aab2430a, api error NoSuchBucket: The specified bucket does not exist" [v4(RUNNING_4)];
    NOBODY_LISTENS = 1105 "operation error S3: HeadObject, exceeded maximum number of attempts, 3, https response error StatusCode: 0, RequestID: , HostID: , request send failed, Head \"{}\": dial tcp {}: connect: connection refused" [v1(S3_1), v4(RUNNING_4)];
    KILLED_LOOKUP = 1105 "operation error S3: HeadObject, context canceled" [v1("Without is_minio and without a name that resolves: hangs; KILL QUERY, KILL, disconnect")];
    MINIO_CLIENT_DENIED = 1105 "Access Denied." [v4("BACKUP: versitygw")];
}
