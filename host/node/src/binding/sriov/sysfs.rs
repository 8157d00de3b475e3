//! What sysfs tells of a virtual function. <https://docs.kernel.org/PCI/pci-iov-howto.html>

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use isthmus_cni::{Code, Error};

/// Drivers of user space: what they have has no interface.
const USER_SPACE: [&str; 4] = ["vfio-pci", "uio_pci_generic", "igb_uio", "uio"];

/// A virtual function, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Interface of the physical function.
    pub(super) parent: String,
    /// Its number there.
    pub(super) index: u32,
    /// Its own interface, as far as it is in the host's namespace.
    pub(super) netdev: Option<String>,
    /// Its driver, where it has one.
    pub(super) driver: Option<String>,
}

impl Found {
    /// Whether a driver of user space has it.
    pub(super) fn is_in_user_space(&self) -> bool {
        self.driver.as_deref().is_some_and(|driver| USER_SPACE.contains(&driver))
    }
}

/// Whether this is written as a PCI address is: `0000:3b:02.1`.
pub(super) fn is_address(text: &str) -> bool {
    let hex = |part: &str, length: usize| part.len() == length && part.bytes().all(|b| b.is_ascii_hexdigit());
    let parts: Vec<&str> = text.split([':', '.']).collect();
    matches!(&*parts, [domain, bus, device, function]
        if text.len() == 12 && hex(domain, 4) && hex(bus, 2) && hex(device, 2) && hex(function, 1)
            && text.as_bytes().get(10) == Some(&b'.'))
}

/// The virtual function with a PCI address; `None`: the node has no device there.
///
/// # Errors
/// [`Code::InvalidConfig`] where it is another device, [`Code::TryAgain`] where its card has no interface on the host.
pub(super) fn find(root: &Path, address: &str) -> Result<Option<Found>, Error> {
    let device = root.join("bus/pci/devices").join(address);
    if !device.exists() {
        return Ok(None);
    }
    let what = || format!("PCI device {address}");
    let physical = device.join("physfn");
    if !physical.exists() {
        let why = "it is a whole card: only virtual functions are given to Pods";
        return Err(Error::new(Code::InvalidConfig, format!("{} is no virtual function", what()), why));
    }
    let unreadable =
        |e: io::Error| Error::new(Code::Io, format!("{} in {}", what(), root.display()), e.to_string());
    let index = index(&physical, address).map_err(unreadable)?.ok_or_else(|| {
        Error::new(
            Code::TryAgain,
            format!("the card of {} does not know it", what()),
            "its functions change just now",
        )
    })?;
    let parent =
        interfaces(&physical).map_err(unreadable)?.into_iter().find(|name| !is_representor(&physical, name));
    let parent = parent.ok_or_else(|| {
        let why = "MAC address and VLAN are set there: is it in a network namespace of its own?";
        Error::new(Code::TryAgain, format!("the card of {} has no interface on the host", what()), why)
    })?;
    let netdev = interfaces(&device).map_err(unreadable)?.into_iter().next();
    Ok(Some(Found { parent, index, netdev, driver: target(&device.join("driver")) }))
}

/// Which of `virtfn0`, `virtfn1`, ... it is.
fn index(physical: &Path, address: &str) -> io::Result<Option<u32>> {
    for entry in fs::read_dir(physical)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("virtfn")?.parse().ok());
        if let Some(number) = number.filter(|_| target(&entry.path()).as_deref() == Some(address)) {
            return Ok(Some(number));
        }
    }
    Ok(None)
}

/// Interfaces of a device that are in the host's namespace, in order.
fn interfaces(device: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(device.join("net")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names =
        entries.map(|e| Ok(e?.file_name().to_string_lossy().into_owned())).collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// In switchdev mode a card has an interface for each virtual function as well, whose port is called `pf0vf1`.
fn is_representor(physical: &Path, interface: &str) -> bool {
    let port = fs::read_to_string(physical.join("net").join(interface).join("phys_port_name"));
    port.is_ok_and(|name| name.contains("vf"))
}

/// Last part of what a link leads to.
fn target(link: &Path) -> Option<String> {
    let to: PathBuf = fs::read_link(link).ok()?;
    Some(to.file_name()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A card `0000:3b:00.0` with two virtual functions, as sysfs shows one in switchdev mode.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let (devices, drivers) = (root.path().join("bus/pci/devices"), root.path().join("bus/pci/drivers"));
        for (folder, name) in
            [("0000:3b:00.0/net/ens1f0", "p0"), ("0000:3b:00.0/net/aa_representor", "pf0vf1")]
        {
            fs::create_dir_all(devices.join(folder)).unwrap();
            fs::write(devices.join(folder).join("phys_port_name"), format!("{name}\n")).unwrap();
        }
        for (number, address) in ["0000:3b:02.0", "0000:3b:02.1"].iter().enumerate() {
            fs::create_dir_all(devices.join(address)).unwrap();
            symlink("../0000:3b:00.0", devices.join(address).join("physfn")).unwrap();
            // numbers go down as addresses go up
            symlink(format!("../{address}"), devices.join(format!("0000:3b:00.0/virtfn{}", 1 - number)))
                .unwrap();
        }
        fs::create_dir_all(devices.join("0000:3b:02.0/net/ens1f0v1")).unwrap();
        for (address, driver) in [("0000:3b:02.0", "iavf"), ("0000:3b:02.1", "vfio-pci")] {
            fs::create_dir_all(drivers.join(driver)).unwrap();
            symlink(format!("../../drivers/{driver}"), devices.join(address).join("driver")).unwrap();
        }
        root
    }

    #[test]
    fn a_function_is_found_with_its_card_number_and_interface() {
        let root = tree();
        let kernel = find(root.path(), "0000:3b:02.0").unwrap().unwrap();
        let expected = |index, netdev: Option<&str>, driver: &str| Found {
            parent: "ens1f0".into(),
            index,
            netdev: netdev.map(Into::into),
            driver: Some(driver.into()),
        };
        assert_eq!(kernel, expected(1, Some("ens1f0v1"), "iavf"));
        assert!(!kernel.is_in_user_space());
        let user = find(root.path(), "0000:3b:02.1").unwrap().unwrap();
        assert_eq!(user, expected(0, None, "vfio-pci"));
        assert!(user.is_in_user_space());
    }

    #[test]
    fn what_is_no_function_is_refused() {
        let root = tree();
        assert_eq!(find(root.path(), "0000:3b:09.0").unwrap(), None);
        let card = find(root.path(), "0000:3b:00.0").unwrap_err();
        assert_eq!(card.code, Code::InvalidConfig);
        let physical = root.path().join("bus/pci/devices/0000:3b:00.0");
        fs::remove_file(physical.join("virtfn1")).unwrap();
        assert!(find(root.path(), "0000:3b:02.0").unwrap_err().to_string().contains("does not know it"));
        fs::remove_dir_all(physical.join("net/ens1f0")).unwrap();
        let gone = find(root.path(), "0000:3b:02.1").unwrap_err();
        assert!(
            gone.code == Code::TryAgain && gone.to_string().contains("no interface on the host"),
            "{gone}"
        );
    }

    #[test]
    fn addresses_are_told_from_resources() {
        assert!(is_address("0000:3b:02.1") && is_address("10de:00:1f.7"));
        for odd in [
            "",
            "example.com/fast",
            "3b:02.1",
            "0000:3b:02:1",
            "0000:3b:02.1/..",
            "0000:3b:2.11",
            "zzzz:3b:02.1",
        ] {
            assert!(!is_address(odd), "{odd}");
        }
    }
}
