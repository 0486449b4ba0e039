//! `curl`: any request to the API with the current token.

use std::fs;

use reqwest::Method;

use crate::api::{Body, Reply};
use crate::command::{Command, Group};
use crate::error::{Error, Result};
use crate::grammar::{Args, Flag, Positional};
use crate::session::Session;

pub const COMMANDS: &[Command] = &[Command {
    name: "curl",
    alias: "",
    summary: "Executes a request to the targeted API endpoint",
    usage: "curl PATH [-iv] [-X METHOD] [-H HEADER]... [-d DATA | -d @FILE] [--output FILE] [--fail]",
    group: Group::Platform,
    positionals: &[Positional::Required("PATH")],
    flags: &[
        Flag::many(
            "",
            "H",
            "Custom headers to include in the request, flag can be specified multiple times",
        ),
        Flag::text("", "X", "HTTP method (GET,POST,PUT,DELETE,etc)"),
        Flag::text(
            "",
            "d",
            "HTTP data to include in the request body, or '@' followed by a file name",
        ),
        Flag::switch("fail", "f", "Server errors return exit code 22"),
        Flag::switch("", "i", "Include response headers in the output"),
        Flag::text("output", "", "Write curl body to FILE instead of stdout"),
    ],
    run: |session, args| Box::pin(curl(session, args)),
}];

async fn curl(session: &Session, args: &Args) -> Result<()> {
    if session.api.config().api.is_empty() {
        session.user()?;
    }
    let data = data(session, args)?;
    let method = match args.text("X") {
        "" if data.is_some() => Method::POST,
        "" => Method::GET,
        method => Method::from_bytes(method.to_ascii_uppercase().as_bytes())
            .map_err(|_| Error::Usage(format!("'{method}' is no HTTP method")))?,
    };
    let mut headers = Vec::new();
    for header in args.all("H") {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Error::Usage("a header given with -H is not of the form 'Name: value'".into()))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let body = data.as_deref().map_or(Body::Empty, Body::Bytes);
    let reply = session.api.raw(method, args.at(0), &headers, body).await?;
    if args.has("fail") && reply.status >= 400 {
        return Err(Error::Curl(reply.status));
    }
    print(session, args, &reply)
}

fn data(session: &Session, args: &Args) -> Result<Option<Vec<u8>>> {
    match args.value("d").map(|data| (data, data.strip_prefix('@'))) {
        None => Ok(None),
        Some((_, Some(file))) => {
            let path = session.directory.join(file);
            fs::read(&path)
                .map(Some)
                .map_err(|error| Error::io(format!("cannot read {}", path.display()), error))
        }
        Some((data, None)) => Ok(Some(data.as_bytes().to_vec())),
    }
}

fn print(session: &Session, args: &Args, reply: &Reply) -> Result<()> {
    let mut output = Vec::new();
    if args.has("i") {
        output.extend(format!("HTTP/1.1 {}\r\n", reply.reason).bytes());
        for (name, value) in &reply.headers {
            output.extend(name.as_str().bytes());
            output.extend(b": ");
            output.extend(value.as_bytes());
            output.extend(b"\r\n");
        }
        output.extend(b"\r\n");
    }
    output.extend(&reply.body);
    if let Some(file) = args.value("output") {
        let path = session.directory.join(file);
        fs::write(&path, &output)
            .map_err(|error| Error::io(format!("cannot write {}", path.display()), error))?;
        session.ui.ok();
        return Ok(());
    }
    // Text gets a line end, bytes stay as they are.
    if !reply.body.contains(&0) {
        output.push(b'\n');
    }
    session.ui.raw(&output);
    Ok(())
}
