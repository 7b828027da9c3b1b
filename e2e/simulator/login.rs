//! Who may log in. Recorded under "Greeting…" of both versions.

use super::{
    recorded,
    wire::{Reply, proves},
};

/// A role, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Of account sys: may do everything.
    MoAdmin,
    /// May run BACKUP in account sys, and little else.
    Public,
    /// Of another account: may not run BACKUP.
    AccountAdmin,
}

impl Role {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MoAdmin => "moadmin",
            Self::Public => "public",
            Self::AccountAdmin => "accountadmin",
        }
    }
}

/// A user that exists.
#[derive(Clone, Debug)]
pub struct User {
    pub account: String,
    pub name: String,
    pub password: String,
    pub role: Role,
}

impl User {
    /// A user of account sys.
    pub fn sys(name: &str, password: &str, role: Role) -> Self {
        Self { account: "sys".into(), name: name.into(), password: password.into(), role }
    }

    /// Those of the recordings, with their passwords.
    pub fn recorded() -> Vec<Self> {
        vec![
            Self::sys("root", "111", Role::MoAdmin),
            Self::sys("dump", "111", Role::MoAdmin),
            Self::sys("u1", "111", Role::Public),
            Self { account: "acc1".into(), name: "admin".into(), password: "111".into(), role: Role::AccountAdmin },
        ]
    }
}

/// Who a session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub account: String,
    pub user: String,
    pub role: Role,
}

impl Identity {
    /// Whether the session may use `mo_ctl` and read the catalogue.
    pub fn is_admin(&self) -> bool {
        self.role == Role::MoAdmin
    }

    /// Whether the session is of account sys.
    pub fn is_sys(&self) -> bool {
        self.account == "sys"
    }
}

/// Checks a login: `user`, `account#user` or `account#user#role`, with `#` or `:`.
pub fn check(
    users: &[User],
    name: &str,
    proof: &[u8],
    salt: &[u8; 20],
    database: Option<&str>,
) -> Result<Identity, Reply> {
    let parts: Vec<&str> = name.split(['#', ':']).collect();
    let (account, user, role) = match parts.as_slice() {
        [user] => ("sys", *user, None),
        [account, user] => (*account, *user, None),
        [account, user, role, ..] => (*account, *user, Some(*role)),
        [] => ("sys", "", None),
    };
    if account != "sys" && !users.iter().any(|u| u.account == account) {
        return Err(recorded::NO_ACCOUNT.error(&[account]));
    }
    let found = users.iter().find(|u| u.account == account && u.name == user);
    let found = found.ok_or_else(|| recorded::NO_USER.error(&[user]))?;
    if !proves(proof, &found.password, salt) {
        return Err(recorded::WRONG_PASSWORD.error(&[name]));
    }
    if let Some(role) = role.filter(|role| *role != found.role.name()) {
        return Err(recorded::NO_ROLE.error(&[role]));
    }
    // Recorded on v1.2.4 only.
    if let Some(database) = database.filter(|name| !["mo_catalog", "mo_task", "mysql"].contains(name)) {
        return Err(recorded::NO_DATABASE.error(&[database]));
    }
    Ok(Identity { account: account.into(), user: user.into(), role: found.role })
}
