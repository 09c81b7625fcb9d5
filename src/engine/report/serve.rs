//! Who may come in.

use super::{Report, Time};
use schemars::JsonSchema;
use serde::Serialize;

/// Users of the page.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UserList {
    /// By name.
    pub users: Vec<ListedUser>,
}

/// A user.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedUser {
    /// Name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// When they were added.
    pub created: Time,
    /// Sessions that have not ended.
    pub sessions: u64,
}

/// A user or a token was added, changed or removed.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UserChanged {
    /// Nothing was changed, only looked.
    pub dry_run: bool,
    /// Name of the user, or id of the token.
    pub name: String,
}

/// Tokens of programs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TokenList {
    /// The newest first.
    pub tokens: Vec<ListedToken>,
}

/// A token.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ListedToken {
    /// Its name in lists.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// Who made it.
    pub creator: String,
    /// Only about these sources; all where there are none.
    pub sources: Vec<String>,
    /// When it ends.
    pub expires: Option<Time>,
    /// When it was last used.
    pub used: Option<Time>,
}

/// A token was made.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct MadeToken {
    /// Its name in lists.
    pub id: String,
    /// The token itself. It is not kept, and shown this once.
    pub token: String,
}

impl Report for UserList {}
impl Report for UserChanged {}
impl Report for TokenList {}
impl Report for MadeToken {}
