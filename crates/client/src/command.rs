//! What a command is: its names, its grammar, its help, and the function that does it.

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;
use crate::grammar::{Args, Flag, Positional};
use crate::session::Session;

/// A command at work.
pub type Running<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The headings of the help text, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Logging in and targeting.
    GettingStarted,
    /// Apps.
    Apps,
    /// Orgs and spaces.
    Orgs,
    /// Domains and routes.
    Routes,
    /// Users and roles.
    Users,
    /// Everything else.
    Platform,
}

impl Group {
    /// All groups, in the order of the help text.
    pub const ALL: [Self; 6] = [
        Self::GettingStarted,
        Self::Apps,
        Self::Orgs,
        Self::Routes,
        Self::Users,
        Self::Platform,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::GettingStarted => "GETTING STARTED",
            Self::Apps => "APPS",
            Self::Orgs => "ORGS AND SPACES",
            Self::Routes => "DOMAINS AND ROUTES",
            Self::Users => "USERS AND ROLES",
            Self::Platform => "PLATFORM",
        }
    }
}

/// One command.
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its short name; may be empty.
    pub alias: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// How to call it, one form per line, without the program's name.
    pub usage: &'static str,
    /// Under which heading it is shown.
    pub group: Group,
    /// Its positional arguments.
    pub positionals: &'static [Positional],
    /// Its flags.
    pub flags: &'static [Flag],
    /// Does it.
    pub run: for<'a> fn(&'a Session, &'a Args) -> Running<'a>,
}
