//! Archives as writers make them, and as nobody should.

use super::*;

const GNU_LONG: &str = "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/end";

fn header(kind: u8, name: &str, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(::tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_uid(1);
    header.set_gid(2);
    header.set_mtime(3);
    header.set_size(size);
    header.set_cksum();
    header
}

fn with_data(kind: u8, name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = header(kind, name, data.len() as u64).as_bytes().to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn record(key: &str, value: &str) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let len = (1..)
        .find(|digits| (rest + digits).to_string().len() == *digits)
        .unwrap()
        + rest;
    format!("{len} {key}={value}\n").into_bytes()
}

/// All entries with the data of files, or the first error.
fn read(archive: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, UnpackError> {
    let mut stream = TarStream::new(archive);
    let mut all = Vec::new();
    while let Some(entry) = stream.next()? {
        let mut data = Vec::new();
        loop {
            let piece = stream.data()?;
            if piece.is_empty() {
                break;
            }
            data.extend_from_slice(piece);
            let len = piece.len();
            stream.consume(len);
        }
        all.push((entry, data));
    }
    Ok(all)
}

#[test]
fn long_names_and_pax_names_belong_to_the_next_entry_only() {
    let mut archive = with_data(b'L', "././@LongLink", format!("{GNU_LONG}\0").as_bytes());
    archive.extend(with_data(b'0', "short", b"one"));
    archive.extend(with_data(b'g', "pax_global_header", &record("path", "never")));
    archive.extend(with_data(
        b'x',
        "x",
        &[record("path", "from-pax"), record("uid", "70000")].concat(),
    ));
    archive.extend(with_data(b'0', "short", b"two"));
    archive.extend(with_data(b'0', "plain/", b""));
    archive.extend([0u8; 1024]);
    let all = read(&archive).unwrap();
    let names: Vec<_> = all
        .iter()
        .map(|(entry, _)| String::from_utf8_lossy(&entry.path).into_owned())
        .collect();
    assert_eq!(names, [GNU_LONG, "from-pax", "plain/"]);
    assert_eq!(all[0].1, b"one");
    assert_eq!((all[1].0.uid, all[1].0.gid, all[1].0.mtime), (70_000, 2, (3, 0)));
    assert_eq!(all[2].0.kind, Kind::Directory, "a trailing slash is a directory");
}

#[test]
fn a_pax_size_rules_how_far_the_data_goes() {
    let mut archive = with_data(b'x', "x", &record("size", "3"));
    archive.extend_from_slice(header(b'0', "file", 0).as_bytes());
    archive.extend(*b"abc");
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive.extend(with_data(b'0', "next", b""));
    let all = read(&archive).unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].1, b"abc");
}

#[test]
fn links_and_directories_have_no_data_whatever_they_say() {
    let mut archive = header(b'5', "dir", 9999).as_bytes().to_vec();
    archive.extend(with_data(b'0', "next", b"x"));
    assert_eq!(read(&archive).unwrap().len(), 2);
}

#[test]
fn pax_sparse_maps_lead_the_data_or_stand_in_the_records() {
    let real = [
        record("GNU.sparse.major", "1"),
        record("GNU.sparse.minor", "0"),
        record("GNU.sparse.name", "s"),
    ];
    let mut archive = with_data(
        b'x',
        "x",
        &[real.concat(), record("GNU.sparse.realsize", "100000")].concat(),
    );
    let mut data = b"2\n10\n3\n50000\n2\n".to_vec();
    data.resize(512, 0);
    data.extend(*b"abcde");
    archive.extend(with_data(b'0', "GNUSparseFile.0/s", &data));
    let map = [
        record("GNU.sparse.size", "100000"),
        record("GNU.sparse.map", "10,3,50000,2"),
    ];
    archive.extend(with_data(b'x', "x", &map.concat()));
    archive.extend(with_data(b'0', "s", b"abcde"));
    let want = vec![
        Extent { offset: 10, len: 3 },
        Extent {
            offset: 50_000,
            len: 2,
        },
    ];
    for (entry, data) in read(&archive).unwrap() {
        assert_eq!(entry.path, b"s");
        assert_eq!(
            entry.kind,
            Kind::File {
                size: 100_000,
                extents: want.clone()
            }
        );
        assert_eq!(data, b"abcde");
    }
}

#[test]
fn contradictory_sparse_maps_are_refused() {
    for map in [
        "10,3,5,2",
        "10,3,12,2",
        "0,4",
        "99999,5",
        "18446744073709551615,5",
        "1",
    ] {
        let records = [record("GNU.sparse.size", "100000"), record("GNU.sparse.map", map)];
        let mut archive = with_data(b'x', "x", &records.concat());
        archive.extend(with_data(b'0', "s", b"abcde"));
        // One number alone is no map at all: the file is as it stands.
        assert_eq!(read(&archive).is_err(), map != "1", "{map}");
    }
}

#[test]
fn a_last_entry_without_padding_is_whole() {
    let mut archive = with_data(b'0', "first", b"one");
    archive.extend(header(b'0', "last", 3).as_bytes());
    archive.extend(b"two");
    let all = read(&archive).unwrap();
    assert_eq!(all.last().unwrap().1, b"two");
    archive.pop();
    assert!(read(&archive).is_err(), "data that is missing is missed");
}

#[test]
fn damage_is_an_error_and_never_a_panic() {
    let mut archive = with_data(b'x', "x", &record("SCHILY.xattr.user.a", "b"));
    archive.extend(with_data(b'0', "file", &[7; 700]));
    archive.extend([0u8; 1024]);
    assert_eq!(
        read(&archive).unwrap()[0].0.xattrs,
        [(b"user.a".to_vec(), b"b".to_vec())]
    );
    let end_of_data = archive.len() - 1024 - (1024 - 700);
    for cut in (1..end_of_data).filter(|cut| cut % 512 != 0 || *cut == 512) {
        assert!(read(&archive[..cut]).is_err(), "{cut}");
    }
    for at in 0..archive.len() {
        let mut damaged = archive.clone();
        damaged[at] ^= 0x55;
        let _ = read(&damaged);
    }
}

#[test]
fn metadata_is_bounded_before_it_is_read() {
    let mut archive = header(b'x', "x", 1 << 40).as_bytes().to_vec();
    archive.extend([0u8; 4096]);
    assert!(matches!(
        read(&archive),
        Err(UnpackError::Tar(TarError::Metadata { .. }))
    ));
    let unknown = with_data(b'Z', "file", b"");
    assert!(matches!(
        read(&unknown),
        Err(UnpackError::Tar(TarError::Kind { kind: 'Z', .. }))
    ));
    let mut no_owner = header(b'0', "file", 0);
    no_owner.set_uid(u64::from(u32::MAX));
    no_owner.set_cksum();
    assert!(matches!(
        read(no_owner.as_bytes()),
        Err(UnpackError::Tar(TarError::Field { field: "owner", .. }))
    ));
}
