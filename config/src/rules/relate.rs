//! What rules mean for each other, and for the built-in endpoints.

use super::checker::Checker;
use super::rule::ReadRule;
use super::send::about;
use conduit_protocol::rules::builtin;
use conduit_protocol::rules::condition::Condition;
use conduit_protocol::rules::limits;
use conduit_protocol::rules::matcher::found_by;
use conduit_protocol::rules::path::PathPattern;
use conduit_protocol::rules::reply::Phase;
use conduit_protocol::rules::ruleset::Send;
use std::collections::HashMap;

/// Rules that any path may concern: more than so many are told to cost time.
const ANYWHERE_MAX: usize = 16;

impl Checker<'_> {
    /// Looks at all rules of a file together.
    pub(super) fn relate(&mut self, rules: &[ReadRule]) {
        if rules.len() > limits::RULES_MAX {
            let at = rules[limits::RULES_MAX].id_at;
            self.error(
                at,
                format!("there are {} rules: at most {} are allowed", rules.len(), limits::RULES_MAX),
                "drop some",
            );
            return;
        }
        self.find_repeated_ids();
        self.find_hidden(rules);
        // A rule with errors is not what its author means: it is not judged by what is left of it.
        let sound = || rules.iter().filter(|rule| !rule.is_broken);
        for rule in sound() {
            self.tell_of_builtin(rule);
        }
        self.tell_of_access(rules);
        let anywhere: Vec<&ReadRule> = sound().filter(|rule| found_by(&rule.spec.when) == "any path").collect();
        if let [.., last] = *anywhere
            && anywhere.len() > ANYWHERE_MAX
        {
            let message = format!("{} rules are looked at for every request, whatever its path", anywhere.len());
            self.warn(last.when_at, message, "give them a `path`: a literal, or one with some literal text");
        }
    }

    fn find_repeated_ids(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        let mut seen: HashMap<(Option<&str>, &str), u64> = HashMap::new();
        for (tenant, id, at) in &ids {
            if let Some(line) = seen.insert((tenant.as_deref(), id), at.line) {
                self.error(*at, format!("the id `{id}` is taken: line {line} has it"), "choose another id");
            }
        }
    }

    /// Rules that can never apply, because an earlier one does whenever they would.
    fn find_hidden(&mut self, rules: &[ReadRule]) {
        let mut groups: HashMap<(Option<&str>, u8), Vec<&ReadRule>> = HashMap::new();
        for rule in rules.iter().filter(|rule| !rule.is_broken) {
            let phase = match rule.spec.phase {
                Phase::Http => 0,
                Phase::Connect => 1,
                Phase::Message => 2,
            };
            let group = groups.entry((rule.spec.tenant.as_deref(), phase)).or_default();
            if let Some(earlier) = group.iter().find(|earlier| earlier.spec.when.covers(&rule.spec.when)) {
                let message = format!(
                    "the rule `{}` never applies: `{}` (line {}) applies whenever it would",
                    rule.spec.id, earlier.spec.id, earlier.id_at.line
                );
                self.error(rule.when_at, message, "put it first, or make the conditions of one of them narrower");
                continue;
            }
            group.push(rule);
        }
    }

    /// A rule on a built-in path takes the built-in's place.
    fn tell_of_builtin(&mut self, rule: &ReadRule) {
        if rule.spec.phase == Phase::Message || rule.spec.send == Send::Native {
            return;
        }
        let mut paths: Vec<&PathPattern> = Vec::new();
        rule.spec.when.paths(&mut paths);
        let is_everywhere = found_by(&rule.spec.when) == "any path" && paths.is_empty();
        let taken: Vec<&str> = builtin::PATHS
            .iter()
            .filter(|builtin| builtin.is_websocket == (rule.spec.phase == Phase::Connect))
            .filter(|builtin| may_be(&rule.spec.when, builtin.methods))
            .map(|builtin| builtin.path)
            .filter(|path| is_everywhere || paths.iter().any(|pattern| pattern.matches(path)))
            .collect();
        if taken.is_empty() {
            return;
        }
        let message = format!(
            "the rule `{}` takes the place of what is built in for {} of {}",
            rule.spec.id,
            about(rule.spec.phase),
            taken.join(", ")
        );
        self.warn(rule.when_at, message, "if that is not meant, change its path, or write `send: builtin`");
    }
}

/// Whether the condition may hold for one of these methods.
fn may_be(condition: &Condition, methods: &[&str]) -> bool {
    match condition {
        Condition::Method(set) => methods.iter().any(|method| set.has(method)),
        Condition::All(parts) => parts.iter().all(|part| may_be(part, methods)),
        Condition::Any(parts) => parts.iter().any(|part| may_be(part, methods)),
        _ => true,
    }
}
