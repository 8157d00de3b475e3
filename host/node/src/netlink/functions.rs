//! Virtual functions of network cards: what is set of them at the physical function, and the way of their interface into a Pod and
//! back. Such an interface is not of our making: it is never deleted, and in no link group of ours.

use futures::StreamExt;
use isthmus_cni::{Code, Error};
use rtnetlink::packet_route::link::{
    LinkAttribute, LinkExtentMask, LinkMessage, LinkVfInfo, VfInfo, VfInfoMac, VfInfoSpoofCheck, VfInfoTrust,
    VfInfoVlan,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkUnspec};
use serde::{Deserialize, Serialize};

use super::direct::get_link;
use super::links::{self, LinkFacts};
use super::netns::{Connected, Netns};
use super::{EEXIST, ENODEV, ENOTSUPP, EOPNOTSUPP, errno, failed, unanswered};
use crate::vif::{format_mac, parse_mac};

/// What is set of a virtual function at its physical one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    /// MAC address; all zeros: the function's choice.
    pub mac: String,
    /// VLAN id; 0: none.
    pub vlan: u32,
    /// Priority in the VLAN.
    pub qos: u32,
    /// Whether it may send with no other MAC address.
    pub spoof_check: bool,
    /// Whether it may do what concerns others, as promiscuous mode.
    pub trusted: bool,
}

/// Which virtual function: interface of its physical one, and number there.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Name of the physical function's interface.
    pub parent: &'a str,
    /// Its number there.
    pub index: u32,
}

/// What is to be made of an interface in a Pod.
#[derive(Clone, Copy, Debug)]
pub struct Moved<'a> {
    /// Its alias there, and its name on the way.
    pub alias: &'a str,
    /// Its name.
    pub interface: &'a str,
    /// Its MAC address.
    pub mac: [u8; 6],
    /// MTU, in bytes; absent: as it is.
    pub mtu: Option<u32>,
}

/// Which interface of a Pod it is.
#[derive(Clone, Debug)]
pub struct Which {
    /// PCI address of its device.
    pub address: String,
    /// Whether the kernel says that it is that device's.
    pub told: bool,
    /// The alias that it was given.
    pub alias: String,
}

impl Which {
    /// The Pod may have cleared the alias, or given it to a link of its own.
    fn is(&self, link: &LinkFacts) -> bool {
        match &link.device {
            Some(device) => *device == self.address,
            None => !self.told && link.alias == self.alias,
        }
    }
}

impl Settings {
    /// What of them is another now.
    pub fn changed(&self, now: &Self) -> Vec<&'static str> {
        let all = [
            ("MAC address", self.mac != now.mac),
            ("VLAN", (self.vlan, self.qos) != (now.vlan, now.qos)),
            ("spoof check", self.spoof_check != now.spoof_check),
            ("trust", self.trusted != now.trusted),
        ];
        all.into_iter().filter_map(|(name, changed)| changed.then_some(name)).collect()
    }
}

/// An interface as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Netdev {
    /// Name on the host.
    pub name: String,
    /// MAC address.
    pub mac: String,
    /// MTU, in bytes.
    pub mtu: u32,
    /// Whether the kernel says whose device's it is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub told: bool,
}

/// What is set; `None`: the card's driver does not say, or there is no such function.
///
/// # Errors
/// The kernel's.
pub async fn settings(host: &Handle, place: Place<'_>) -> Result<Option<Settings>, Error> {
    let masks = vec![LinkExtentMask::Vf, LinkExtentMask::SkipStats];
    let request = host.link().get().match_name(place.parent).set_filter_mask(AddressFamily::Unspec, masks);
    let mut links = std::pin::pin!(request.execute());
    match links.next().await {
        Some(Ok(message)) => Ok(of(message, place.index)),
        Some(Err(e)) if errno(&e) != Some(ENODEV) => {
            Err(failed(format!("looking for link {}", place.parent), &e))
        }
        _ => Ok(None),
    }
}

fn of(message: LinkMessage, index: u32) -> Option<Settings> {
    let mut all = message.attributes.into_iter().filter_map(|attribute| match attribute {
        LinkAttribute::VfInfoList(functions) => Some(functions),
        _ => None,
    });
    let mut functions = all.next()?.into_iter().map(|LinkVfInfo(infos)| infos);
    let is_it =
        |infos: &Vec<VfInfo>| infos.iter().any(|info| matches!(info, VfInfo::Mac(mac) if mac.vf_id == index));
    let mut settings = Settings { mac: String::new(), vlan: 0, qos: 0, spoof_check: false, trusted: false };
    for info in functions.find(is_it)? {
        match info {
            VfInfo::Mac(mac) => settings.mac = format_mac(mac.mac.get(..6).unwrap_or_default()),
            VfInfo::Vlan(vlan) => (settings.vlan, settings.qos) = (vlan.vlan_id, vlan.qos),
            VfInfo::SpoofCheck(check) => settings.spoof_check = check.enabled,
            VfInfo::Trust(trust) => settings.trusted = trust.enabled,
            _ => {}
        }
    }
    Some(settings)
}

/// Sets them, one by one: cards differ in what they know. What one does not know, and is not `needed`, is left, and returned.
///
/// # Errors
/// [`Code::InvalidConfig`] where the card cannot do what is needed; the kernel's.
pub async fn set(
    host: &Handle,
    place: Place<'_>,
    wanted: &Settings,
    needed: impl Fn(&VfInfo) -> bool,
) -> Result<Vec<VfInfo>, Error> {
    if parse_mac(&wanted.mac).is_none() {
        let what = format!("MAC address {:?}", wanted.mac);
        return Err(Error::new(Code::InvalidConfig, what, "six bytes in hex"));
    }
    let mut left = Vec::new();
    for (name, info) in infos(place.index, wanted) {
        let Err(e) = host.link().set(setting(place.parent, info.clone())).execute().await else { continue };
        let what = cannot(name, place);
        match is_unsupported(errno(&e)) {
            true if needed(&info) => {
                return Err(Error::new(Code::InvalidConfig, what, "the card's driver does not support it"));
            }
            true => {
                tracing::debug!("{what}: the card's driver does not support it");
                left.push(info);
            }
            false => return Err(failed(what, &e)),
        }
    }
    Ok(left)
}

/// Sets them to what they were, as far as the card takes that: not every card that says a MAC address of zeros is its function's takes it.
/// What is so already is not set again: where a card was too slow for the first try, the second finds it done.
pub async fn reset(host: &Handle, place: Place<'_>, was: &Settings) {
    // Where it can't be read all is set.
    let now = settings(host, place).await.ok().flatten();
    let now: Vec<_> = now.iter().flat_map(|now| infos(place.index, now)).collect();
    for (name, info) in infos(place.index, was).filter(|wanted| !now.contains(wanted)) {
        let Err(e) = host.link().set(setting(place.parent, info)).execute().await else { continue };
        let error = failed(cannot(name, place), &e);
        match is_unsupported(errno(&e)) {
            true => tracing::debug!(%error, "it was not set"),
            false => tracing::warn!(%error, "it stays as the Pod had it"),
        }
    }
}

fn infos(index: u32, settings: &Settings) -> impl Iterator<Item = (&'static str, VfInfo)> {
    let mac = parse_mac(&settings.mac).map(|mac| ("MAC address", VfInfo::Mac(VfInfoMac::new(index, &mac))));
    mac.into_iter().chain([
        ("VLAN", VfInfo::Vlan(VfInfoVlan::new(index, settings.vlan, settings.qos))),
        ("spoof check", VfInfo::SpoofCheck(VfInfoSpoofCheck::new(index, settings.spoof_check))),
        ("trust", VfInfo::Trust(VfInfoTrust::new(index, settings.trusted))),
    ])
}

fn cannot(name: &str, Place { parent, index }: Place<'_>) -> String {
    format!("{name} of virtual function {index} of {parent} cannot be set")
}

fn is_unsupported(number: Option<i32>) -> bool {
    matches!(number, Some(EOPNOTSUPP | ENOTSUPP))
}

fn setting(parent: &str, info: VfInfo) -> LinkMessage {
    let list = LinkAttribute::VfInfoList(vec![LinkVfInfo(vec![info])]);
    LinkUnspec::new_with_name(parent).append_extra_attribute(list).build()
}

/// Moves the host's link `netdev` into a Pod, and sets it up. Where this fails half-way, [`take`] or [`restore`] sees to it.
///
/// # Errors
/// [`Code::InvalidEnvironment`] where the Pod has an interface of that name; the kernel's.
pub async fn give(
    host: &Handle,
    netns: &Netns,
    inside: &Connected,
    netdev: &LinkFacts,
    to: Moved<'_>,
) -> Result<(), Error> {
    let what = || format!("interface {} cannot be {} in {}", netdev.name, to.interface, netns.path());
    let link = || LinkUnspec::new_with_index(netdev.index);
    // A link that is up keeps its name; and the Pod may have one of the host's name.
    for step in [link().down(), link().name(to.alias).alias(to.alias), link().setns_by_fd(netns.raw())] {
        host.link().set(step.build()).execute().await.map_err(|e| failed(what(), &e))?;
    }
    let [found] = inside.netlink.ask([get_link(to.alias)]).map_err(unanswered(what()))?;
    let there = links::found(found, to.alias)?
        .ok_or_else(|| Error::new(Code::TryAgain, what(), "it went on the way"))?;
    let mut link = LinkUnspec::new_with_index(there.index).name(to.interface).address(to.mac.to_vec()).up();
    if let Some(mtu) = to.mtu {
        link = link.mtu(mtu);
    }
    let [set] =
        inside.netlink.ask([RouteNetlinkMessage::SetLink(link.build())]).map_err(unanswered(what()))?;
    set.map(drop).map_err(|e| match errno(&e) {
        Some(EEXIST) => Error::new(Code::InvalidEnvironment, what(), "the name is taken there"),
        _ => failed(what(), &e),
    })
}

/// Takes it out of a Pod, down, under its alias as name, as far as it is there.
///
/// # Errors
/// The kernel's.
pub fn take(inside: &Connected, netns: &Netns, which: &Which) -> Result<(), Error> {
    let alias = &*which.alias;
    let what = || format!("bringing {alias} back from {}", netns.path());
    let Some(found) = links::inside(inside)?.into_iter().find(|link| which.is(link)) else { return Ok(()) };
    let link = || LinkUnspec::new_with_index(found.index);
    // One after the other: the host may have a link of the Pod's name.
    let steps = [link().down(), link().name(alias), link().setns_by_fd(netns.own_raw())];
    for step in steps {
        let [done] =
            inside.netlink.ask([RouteNetlinkMessage::SetLink(step.build())]).map_err(unanswered(what()))?;
        done.map_err(|e| failed(what(), &e))?;
    }
    Ok(())
}

/// Makes an interface of the host what it was.
///
/// # Errors
/// The kernel's.
pub async fn restore(host: &Handle, there: &LinkFacts, alias: &str, was: &Netdev) -> Result<(), Error> {
    if (&*there.name, &*format_mac(&there.mac), there.mtu) == (&*was.name, &*was.mac, was.mtu)
        && there.alias != alias
    {
        return Ok(());
    }
    let link = || LinkUnspec::new_with_index(there.index);
    // Its settings are no longer of use, whatever becomes of them; its name is what others find it by.
    let set =
        async |step: rtnetlink::LinkMessageBuilder<LinkUnspec>| host.link().set(step.build()).execute().await;
    let mac = parse_mac(&was.mac).map(|mac| link().address(mac.to_vec()));
    for step in [Some(link().down()), Some(link().mtu(was.mtu)), mac].into_iter().flatten() {
        if let Err(e) = set(step).await {
            tracing::warn!(name = was.name, error = %failed("resetting an interface", &e), "it goes on as it is");
        }
    }
    match set(link().name(&was.name)).await {
        Err(e) if errno(&e) != Some(EEXIST) => {
            return Err(failed(format!("naming {} {} again", there.name, was.name), &e));
        }
        Err(_) => {
            tracing::warn!(name = was.name, alias, "its name is another's by now: it keeps the one it has")
        }
        Ok(()) => {}
    }
    // last: until then it is found by it
    set(link().alias("")).await.map_err(|e| failed(format!("giving {} back", was.name), &e))
}

#[cfg(test)]
mod tests {
    use rtnetlink::packet_core::Emitable;

    use super::*;

    /// `IFLA_VFINFO_LIST` of a message, as bytes.
    fn emitted(info: VfInfo) -> Vec<u8> {
        let message = setting("p0", info);
        let list = message.attributes.iter().find(|a| matches!(a, LinkAttribute::VfInfoList(_))).unwrap();
        let mut bytes = vec![0; list.buffer_len()];
        list.emit(&mut bytes);
        bytes
    }

    /// As `ip link set p0 vf 3 ...` of iproute2 sends them (linux/if_link.h): three headers, and a struct that begins with the number.
    #[test]
    fn settings_are_sent_as_the_kernel_reads_them() {
        let cases: [(VfInfo, u16, usize, &[u8]); 4] = [
            (VfInfo::Mac(VfInfoMac::new(3, &[2, 0, 0, 0, 0, 7])), 1, 36, &[2, 0, 0, 0, 0, 7, 0]),
            (VfInfo::Vlan(VfInfoVlan::new(3, 300, 5)), 2, 12, &[44, 1, 0, 0, 5, 0, 0, 0]),
            (VfInfo::SpoofCheck(VfInfoSpoofCheck::new(3, true)), 4, 8, &[1, 0, 0, 0]),
            (VfInfo::Trust(VfInfoTrust::new(3, false)), 9, 8, &[0, 0, 0, 0]),
        ];
        for (info, kind, length, payload) in cases {
            let bytes = emitted(info);
            let short = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
            assert_eq!(bytes.len(), 12 + length, "{kind}");
            // IFLA_VFINFO_LIST is 22, IFLA_VF_INFO is 1; the upper bits say that one is nested
            assert_eq!((short(2) & 0x3fff, short(6) & 0x3fff, short(10) & 0x3fff), (22, 1, kind));
            assert_eq!(usize::from(short(8)), 4 + length);
            assert_eq!(bytes[12..16], 3u32.to_ne_bytes());
            assert_eq!(&bytes[16..16 + payload.len()], payload, "{kind}");
        }
    }

    #[test]
    fn drivers_have_two_words_for_what_they_do_not_know() {
        let (unsupported, invalid) = ([95, 524], 22);
        assert!(unsupported.into_iter().all(|number| is_unsupported(Some(number))));
        assert!(!is_unsupported(Some(invalid)) && !is_unsupported(None));
    }

    #[test]
    fn a_pods_own_link_is_not_taken_for_its_function() {
        let link = |device: Option<&str>, alias: &str| LinkFacts {
            index: 7,
            name: "eth0".into(),
            group: 0,
            master: None,
            mtu: 1500,
            mac: Vec::new(),
            alias: alias.into(),
            device: device.map(Into::into),
            up: true,
            carrier: true,
        };
        let which = |told| Which { address: "0000:3b:02.1".into(), told, alias: "im1".into() };
        let (own, hidden) = (link(None, "im1"), link(Some("0000:3b:02.1"), ""));
        let another = link(Some("0000:3b:02.2"), "im1");
        let are = |told| [&own, &hidden, &another].map(|link| which(told).is(link));
        assert_eq!(are(true), [false, true, false]);
        assert_eq!(are(false), [true, true, false], "an old kernel says it of none");
    }

    #[test]
    fn settings_of_one_function_are_read() {
        let one = |index, last, vlan| {
            LinkVfInfo(vec![
                VfInfo::Mac(VfInfoMac::new(index, &[2, 0, 0, 0, 0, last])),
                VfInfo::Vlan(VfInfoVlan::new(index, vlan, 0)),
                VfInfo::SpoofCheck(VfInfoSpoofCheck::new(index, true)),
                VfInfo::Trust(VfInfoTrust::new(index, false)),
            ])
        };
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::VfInfoList(vec![one(0, 1, 0), one(1, 2, 300)]));
        let expected = Settings {
            mac: "02:00:00:00:00:02".into(),
            vlan: 300,
            qos: 0,
            spoof_check: true,
            trusted: false,
        };
        assert_eq!(of(message.clone(), 1), Some(expected));
        assert_eq!(of(message, 2), None);
        assert_eq!(of(LinkMessage::default(), 0), None);
    }
}
