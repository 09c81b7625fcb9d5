//! The page and the HTTP API.
//!
//! | file | hides |
//! |---|---|
//! | `api` | the routes of the API, and their description |
//! | `assets` | style, script, icon |
//! | `children` | child processes that answer questions |
//! | `doings` | what may be asked for: runs, restores, deletions, downloads |
//! | `gate` | who may come in |
//! | `known` | what the repository said last |
//! | `pages` | the pages |
//! | `password` | hashes of passwords |
//! | `pictures` | charts as SVG |
//! | `request` | requests and answers |
//! | `route` | what a route is |
//! | `routes` | the table of all of them |
//! | `server` | the listener |
//! | `site` | what all handlers share |
//! | `store` | users, sessions, tokens, operations |
//! | `watcher` | when the repository is asked |
//! | `words` | numbers and times in words |

mod api;
mod assets;
mod children;
mod doings;
mod gate;
mod known;
mod pages;
mod password;
mod pictures;
mod request;
mod route;
mod routes;
mod server;
mod site;
pub mod store;
mod watcher;
pub(crate) mod words;

pub use children::Children;
pub use gate::{TOKEN_PREFIX, hash, hex};
pub use password::{LENGTH_MIN, Passwords};
pub use route::Access;
pub use routes::all as routes;
pub use server::Server;
pub use site::{Site, Web};
pub use watcher::Watcher;
