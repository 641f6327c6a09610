//! What every row of the table keeps to.

use super::*;
use std::collections::BTreeSet;

#[test]
fn flag_and_variable_are_one_name() {
    for setting in SETTINGS {
        let from_flag = format!("CONDUIT_{}", setting.flag.replace('-', "_").to_uppercase());
        assert_eq!(setting.env, from_flag, "the names of --{} differ", setting.flag);
    }
}

#[test]
fn names_are_unique_and_groups_stand_together() {
    let names: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.env).collect();
    assert_eq!(names.len(), SETTINGS.len());
    let order: Vec<_> =
        SETTINGS.iter().map(|setting| Group::ALL.iter().position(|group| *group == setting.group)).collect();
    assert!(order.is_sorted(), "a setting stands under another group's heading");
}

#[test]
fn every_bound_fits_its_place_and_one_beyond_is_refused() {
    for setting in SETTINGS {
        let Bounds::Range(min, max) = setting.bounds else { continue };
        for inside in [min, max] {
            let mut config = Config::new(1);
            setting.set(&mut config, &inside.to_string()).expect("a bound is inclusive");
            assert_eq!(setting.show(&config), inside.to_string(), "--{} lost its value", setting.flag);
        }
        let mut config = Config::new(1);
        assert!(setting.set(&mut config, &(max + 1).to_string()).is_err(), "--{} takes max + 1", setting.flag);
        if min > 0 {
            assert!(setting.set(&mut config, &(min - 1).to_string()).is_err(), "--{} takes min - 1", setting.flag);
        }
    }
}

#[test]
fn every_default_is_within_its_own_bounds() {
    for setting in SETTINGS {
        if setting.flag == "cpus" || setting.is_secret() {
            continue; // Its default is the absence of a value, which is not a text.
        }
        let mut config = Config::new(4);
        let text = setting.show(&config);
        setting.set(&mut config, &text).unwrap_or_else(|_| panic!("--{} refuses its default {text}", setting.flag));
    }
}

#[test]
fn no_two_settings_share_a_place() {
    for setting in SETTINGS {
        let Bounds::Range(min, max) = setting.bounds else { continue };
        let mut config = Config::new(1);
        let before: Vec<_> = SETTINGS.iter().map(|other| other.show(&config)).collect();
        let other_value = if setting.show(&config) == max.to_string() { min } else { max };
        setting.set(&mut config, &other_value.to_string()).expect("a bound is inclusive");
        let changed = SETTINGS.iter().zip(&before).filter(|(other, was)| other.show(&config) != **was).count();
        assert_eq!(changed, 1, "--{} changes {changed} values", setting.flag);
    }
}

#[test]
fn every_setting_has_a_place_of_its_own_in_the_file() {
    let mut paths: Vec<&str> = SETTINGS.iter().map(|setting| setting.yaml).collect();
    paths.sort_unstable();
    for pair in paths.windows(2) {
        assert!(pair[0] != pair[1] && !pair[1].starts_with(&format!("{}.", pair[0])), "{pair:?} meet");
    }
    for path in paths {
        let is_key = |key: &str| {
            key.starts_with(|c: char| c.is_ascii_lowercase()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric())
        };
        assert!(path.contains('.') && path.split('.').all(is_key), "{path} is no path of keys");
    }
}

#[test]
fn every_alias_stands_for_a_setting_and_is_none_itself() {
    for (alias, env) in ALIASES {
        assert_eq!(by_env(alias).map(|setting| setting.env), Some(*env));
        assert!(SETTINGS.iter().all(|setting| setting.env != *alias), "{alias} is a setting");
    }
}

#[test]
fn a_secret_is_never_shown() {
    let mut count = 0;
    for setting in SETTINGS.iter().filter(|setting| setting.is_secret()) {
        let mut config = Config::new(1);
        let text = "hush-hush-hush-hush-hush-hush-hush-hush";
        setting.set(&mut config, text).expect("a secret");
        let told = format!("{} {config:?}", setting.show(&config));
        assert!(!told.contains("hush"), "{told}");
        count += 1;
    }
    assert_eq!(count, 3);
}
