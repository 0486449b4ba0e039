//! The app of the tests. One endpoint for each thing a test asks of an app:
//! `/` ok · `/env` variables · `/id` user, groups, capabilities · `/headers` the request as it came · `/echo` the body
//! · `/exit/N` ends with status N · `/hang` never answers · `/memory/N` takes N MiB · `/disk/N` writes N MiB
//! · `/log/N` prints N lines · `/connect/HOST/PORT` whether a TCP connection opens · `/read/PATH` a file
//! · `/slow/MS` answers after MS milliseconds · `/fail` answers 500.
//! `HEALTH=down` makes `/` answer 503. SIGTERM is left to end the process at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::time::Duration;

fn main() {
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let listener = TcpListener::bind(format!("0.0.0.0:{port}")).expect("the port is free");
    println!("probe listens on port {port}");
    eprintln!("probe speaks on stderr too");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || {
            let _ = serve(stream);
        });
    }
}

fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("/").to_owned();
        let mut headers = line.clone();
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            if header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
            headers.push_str(&header);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, body) = answer(&path, &headers, body);
        write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", body.len())?;
        stream.write_all(&body)?;
    }
}

fn answer(path: &str, headers: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
    let parts: Vec<&str> = path.trim_start_matches('/').splitn(3, '/').collect();
    let number = parts.get(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let text = match parts.first().copied().unwrap_or_default() {
        "" if std::env::var("HEALTH").as_deref() == Ok("down") => return (503, b"down".to_vec()),
        "" => "ok".to_owned(),
        "env" => std::env::vars().map(|(k, v)| format!("{k}={v}\n")).collect(),
        "id" => std::fs::read_to_string("/proc/self/status").unwrap_or_default(),
        "headers" => headers.to_owned(),
        "echo" => return (200, body),
        "exit" => std::process::exit(i32::try_from(number).unwrap_or(1)),
        "hang" => loop {
            std::thread::park();
        },
        "memory" => take_memory(number),
        "disk" => write_disk(number),
        "log" => {
            for i in 0..number {
                println!("line {i}");
            }
            format!("{number} lines")
        }
        "connect" => connect(parts.get(1).unwrap_or(&""), parts.get(2).unwrap_or(&"")),
        "read" => {
            let file = format!("/{}", path.trim_start_matches("/read/"));
            std::fs::read_to_string(&file).unwrap_or_else(|error| format!("{file}: {error}"))
        }
        "slow" => {
            std::thread::sleep(Duration::from_millis(number));
            "slept".to_owned()
        }
        "fail" => return (500, b"failed as asked".to_vec()),
        _ => return (404, b"no such endpoint".to_vec()),
    };
    (200, text.into_bytes())
}

fn take_memory(mebibytes: u64) -> String {
    let mut kept = Vec::new();
    for _ in 0..mebibytes {
        // Written to, so that the kernel must give it.
        kept.push(vec![1u8; 1 << 20]);
    }
    format!("{} MiB", std::hint::black_box(&kept).len())
}

fn write_disk(mebibytes: u64) -> String {
    let block = vec![7u8; 1 << 20];
    let written = std::fs::File::create("/tmp/fill").and_then(|mut file| {
        for _ in 0..mebibytes {
            file.write_all(&block)?;
        }
        file.sync_all()
    });
    match written {
        Ok(()) => format!("{mebibytes} MiB"),
        Err(error) => error.to_string(),
    }
}

fn connect(host: &str, port: &str) -> String {
    let address = format!("{host}:{port}").to_socket_addrs().ok().and_then(|mut all| all.next());
    match address.map(|a| TcpStream::connect_timeout(&a, Duration::from_secs(2))) {
        Some(Ok(_)) => "open".to_owned(),
        Some(Err(error)) => format!("closed: {error}"),
        None => "unknown host".to_owned(),
    }
}
