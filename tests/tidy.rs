//! The repository's own rules, as far as a program can check them. Each rule is a function from the files of the
//! repository to the violations it finds; each is also shown a planted violation, because a rule that cannot fail is
//! worth nothing.
//!
//! `UPDATE_DOCS=1 cargo test tidy` rewrites the tables in `docs/` that are made from code.

mod tidy {
    use conduit_config::document::{markdown_aliases, markdown_reserved, markdown_table};
    use conduit_config::setting::Group;
    use conduit_protocol::ErrorCode;
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::{Component, Path, PathBuf};

    /// The repository's text files by their path from its root, and the names at its top level.
    #[derive(Clone, Default)]
    struct Tree {
        files: BTreeMap<String, String>,
        top_level: BTreeSet<String>,
    }

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    impl Tree {
        fn read() -> Self {
            let mut tree = Self::default();
            for entry in fs::read_dir(root()).expect("the repository is readable").flatten() {
                tree.top_level.insert(entry.file_name().to_string_lossy().into_owned());
            }
            tree.read_folder(&root());
            assert!(tree.files.len() > 30, "the repository was not found");
            tree
        }

        fn read_folder(&mut self, folder: &Path) {
            for entry in fs::read_dir(folder).expect("a readable folder").flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                // A folder, or in a second working tree a file that says where the folder is.
                if name == ".git" {
                    continue;
                }
                if path.is_dir() {
                    if name != "target" && name != "reports" && name != "node_modules" {
                        self.read_folder(&path);
                    }
                } else if let Ok(text) = fs::read_to_string(&path) {
                    let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                    self.files.insert(relative, text);
                }
            }
        }

        /// The same tree with one more file: a planted violation.
        fn with(&self, path: &str, text: &str) -> Self {
            let mut tree = self.clone();
            tree.files.insert(path.to_owned(), text.to_owned());
            tree
        }

        /// The same tree with a file changed.
        fn changed(&self, path: &str, change: impl FnOnce(&str) -> String) -> Self {
            self.with(path, &change(self.text(path)))
        }

        fn text(&self, path: &str) -> &str {
            self.files.get(path).map_or("", String::as_str)
        }

        fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
            self.files
                .iter()
                .filter(|(path, _)| path.ends_with(".rs"))
                .map(|(path, text)| (path.as_str(), text.as_str()))
        }
    }

    type Rule = fn(&Tree) -> Vec<String>;

    /// The rule holds for the repository, and finds what was planted.
    fn check(rule: Rule, plant: impl FnOnce(&Tree) -> Tree) {
        let tree = Tree::read();
        let violations = rule(&tree);
        let planted = rule(&plant(&tree));
        assert!(planted.iter().any(|found| !violations.contains(found)), "the rule does not see a planted violation");
        assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
    }

    /// Rust without its comments and without the insides of its texts: what is left is code.
    fn code_of(text: &str) -> String {
        let mut code = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let skipped = match next {
                '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
                'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_text_len(rest),
                '"' => text_len(rest),
                // A quoted quotation mark would otherwise open a text.
                '\'' if rest.starts_with("'\"'") => 3,
                '\'' if rest.starts_with("'\\") => {
                    rest[2..].find('\'').map_or(2, |end| (end + 3).max(4)).min(rest.len())
                }
                _ => 0,
            };
            if skipped == 0 {
                code.push(next);
                rest = &rest[next.len_utf8()..];
            } else {
                code.push(' ');
                rest = &rest[skipped..];
            }
        }
        code
    }

    fn text_len(rest: &str) -> usize {
        let mut escaped = false;
        for (at, byte) in rest.bytes().enumerate().skip(1) {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => return at + 1,
                _ => {}
            }
        }
        rest.len()
    }

    /// The length of a raw text; 0 for an identifier such as `r#type`.
    fn raw_text_len(rest: &str) -> usize {
        let hashes = rest[1..].bytes().take_while(|byte| *byte == b'#').count();
        if rest.as_bytes().get(1 + hashes) != Some(&b'"') {
            return 0;
        }
        let end = format!("\"{}", "#".repeat(hashes));
        rest[2 + hashes..].find(&end).map_or(rest.len(), |at| 2 + hashes + at + end.len())
    }

    #[test]
    fn code_is_told_from_comments_and_texts() {
        let code = code_of(
            "a(); // glommio\n/* glommio */ let s = \"gl\\\"ommio\"; let r = r#\"glo\"mmio\"#; let c = '\"'; let d = '\\''; b();",
        );
        assert!(!code.contains("mmio"), "{code}");
        assert!(code.contains("a();") && code.contains("b();"), "{code}");
    }

    #[test]
    fn the_top_level_is_the_designs() {
        let planted = |tree: &Tree| {
            let mut tree = tree.clone();
            tree.top_level.insert("utils".to_owned());
            tree
        };
        check(top_level, planted);
    }

    fn top_level(tree: &Tree) -> Vec<String> {
        const DESIGN: &[&str] = &[
            "Cargo.toml",
            "Cargo.lock",
            "LICENSE",
            "README.md",
            "src",
            "shard",
            "io",
            "protocol",
            "config",
            "benches",
            "loadtest",
            "docs",
            "tests",
        ];
        // What a build or a run leaves behind is listed in .gitignore.
        let allowed =
            |name: &str| DESIGN.contains(&name) || name.starts_with('.') || ["target", "reports"].contains(&name);
        let strange =
            tree.top_level.iter().filter(|name| !allowed(name)).map(|name| format!("{name} is not in the design"));
        let missing =
            DESIGN.iter().filter(|name| !tree.top_level.contains(**name)).map(|name| format!("{name} is missing"));
        strange.chain(missing).collect()
    }

    #[test]
    fn crates_depend_only_downwards() {
        check(crate_directions, |tree| {
            tree.changed("shard/Cargo.toml", |text| {
                text.replace("[dependencies]", "[dependencies]\nconduit-io.workspace = true")
            })
        });
    }

    fn crate_directions(tree: &Tree) -> Vec<String> {
        const MAY_USE: &[(&str, &[&str])] = &[
            ("protocol/Cargo.toml", &[]),
            // Its own tests turn its simulator on.
            ("shard/Cargo.toml", &["conduit-protocol", "conduit-shard"]),
            ("config/Cargo.toml", &["conduit-protocol", "conduit-shard"]),
            ("io/Cargo.toml", &["conduit-protocol", "conduit-shard", "conduit-config"]),
            // Its simulator, for one command; see docs/testing.md.
            ("loadtest/Cargo.toml", &["conduit-protocol", "conduit-shard"]),
            ("benches/Cargo.toml", &["conduit-protocol", "conduit-shard"]),
        ];
        let mut violations = Vec::new();
        for (path, allowed) in MAY_USE {
            if tree.text(path).is_empty() {
                violations.push(format!("{path} is missing"));
            }
            // The package's own name stands behind `name =`, so only dependencies begin a line with ours.
            let uses = tree.text(path).lines().filter_map(|line| line.split(['.', ' ', '=']).next());
            for used in uses.filter(|name| name.starts_with("conduit-") && !allowed.contains(name)) {
                violations.push(format!("{path} must not depend on {used}"));
            }
        }
        violations
    }

    #[test]
    fn only_io_names_the_runtime() {
        check(the_runtime_is_fenced, |tree| tree.with("shard/src/planted.rs", "use glommio::executor;\n"));
        check(the_runtime_is_fenced, |tree| {
            tree.with("shard/Cargo.toml", "[dependencies]\nglommio.workspace = true\n")
        });
    }

    fn the_runtime_is_fenced(tree: &Tree) -> Vec<String> {
        let outside = |path: &str| !path.starts_with("io/");
        let code =
            tree.rust().filter(|(path, text)| outside(path) && code_of(text).contains("glommio")).map(|(path, _)| path);
        let manifests = tree.files.iter().filter(|(path, text)| {
            path.ends_with("/Cargo.toml") && outside(path) && text.lines().any(|line| line.starts_with("glommio"))
        });
        code.chain(manifests.map(|(path, _)| path.as_str())).map(|path| format!("{path} names glommio")).collect()
    }

    #[test]
    fn the_core_has_no_clock_no_sockets_no_files_and_no_threads() {
        for planted in [
            "use std::time::Instant;",
            "fn f() { std::time::SystemTime::now(); }",
            "use std::{fs, net::TcpStream};",
            "fn f() { std::thread::spawn(|| ()); }",
            "async fn f() {}",
        ] {
            check(core_is_pure, |tree| tree.with("shard/src/planted.rs", planted));
        }
        check(core_is_pure, |tree| tree.with("config/src/planted.rs", "fn now() { std::time::Instant::now(); }"));
    }

    fn core_is_pure(tree: &Tree) -> Vec<String> {
        // The configuration names addresses, which are plain values; it neither reads clocks nor starts anything.
        const EVERYWHERE: &[&str] = &[
            "Instant",
            "SystemTime",
            "thread::",
            "thread_local!",
            "async fn",
            "async move",
            ".await",
            "TcpStream",
            "UdpSocket",
        ];
        const CORE: &[&str] = &[
            "std::net",
            "std::fs",
            "fs::",
            "std::env",
            "std::process",
            "File::",
            "stdin",
            "stdout",
            "stderr",
            "println!",
        ];
        let mut violations = Vec::new();
        for (path, text) in tree.rust() {
            let core = path.starts_with("protocol/src/") || path.starts_with("shard/src/");
            if !core && !path.starts_with("config/src/") {
                continue;
            }
            let code = code_of(text);
            for word in EVERYWHERE.iter().chain(if core { CORE } else { &[] }) {
                if contains_word(&code, word) {
                    violations.push(format!("{path} uses {word}"));
                }
            }
        }
        violations
    }

    /// `word` stands in `code` and does not continue an identifier to its left.
    fn contains_word(code: &str, word: &str) -> bool {
        let continues = |at: usize| code[..at].chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_');
        code.match_indices(word).any(|(at, _)| word.starts_with('.') || !continues(at))
    }

    #[test]
    fn pure_crates_forbid_unsafe_code() {
        check(unsafe_is_forbidden, |tree| tree.changed("protocol/src/lib.rs", |text| text.replace("forbid", "allow")));
    }

    fn unsafe_is_forbidden(tree: &Tree) -> Vec<String> {
        let lacks = |path: &&str| !code_of(tree.text(path)).contains("#![forbid(unsafe_code)]");
        let crates = ["protocol/src/lib.rs", "shard/src/lib.rs", "config/src/lib.rs"];
        crates.into_iter().filter(lacks).map(|path| format!("{path} does not forbid unsafe code")).collect()
    }

    #[test]
    fn no_source_file_is_longer_than_600_lines() {
        assert!(short_files(&Tree::default().with("x.rs", &"a\n".repeat(600))).is_empty());
        check(short_files, |tree| tree.with("x.rs", &"a\n".repeat(601)));
    }

    fn short_files(tree: &Tree) -> Vec<String> {
        let lengths = tree.rust().map(|(path, text)| (path, text.lines().count()));
        lengths.filter(|(_, lines)| *lines > 600).map(|(path, lines)| format!("{path} has {lines} lines")).collect()
    }

    #[test]
    fn the_readme_has_at_most_120_lines() {
        let lines = |count: usize| Tree::default().with("README.md", &"a\n".repeat(count));
        assert!(short_readme(&lines(120)).is_empty());
        check(short_readme, |_| lines(121));
    }

    fn short_readme(tree: &Tree) -> Vec<String> {
        match tree.text("README.md").lines().count() {
            0 => vec!["README.md is missing".to_owned()],
            lines if lines > 120 => vec![format!("README.md has {lines} lines")],
            _ => Vec::new(),
        }
    }

    #[test]
    fn nothing_is_left_for_later() {
        for planted in [concat!("// TO", "DO: more\n"), concat!("// FIX", "ME\n"), concat!("fn f() { db", "g!(1); }\n")]
        {
            check(no_leftovers, |tree| tree.with("src/planted.rs", planted));
        }
    }

    fn no_leftovers(tree: &Tree) -> Vec<String> {
        const MARKS: &[&str] = &[
            concat!("TO", "DO"),
            concat!("FIX", "ME"),
            concat!("XX", "X:"),
            concat!("db", "g!("),
            concat!("to", "do!("),
            concat!("unimple", "mented!("),
        ];
        let sources = tree
            .files
            .iter()
            .filter(|(path, _)| [".rs", ".sh", ".md", ".toml", ".ci/run"].iter().any(|end| path.ends_with(end)));
        let found = sources
            .flat_map(|(path, text)| MARKS.iter().filter(|mark| text.contains(**mark)).map(move |mark| (path, mark)));
        found.map(|(path, mark)| format!("{path} has {mark}")).collect()
    }

    #[test]
    fn no_file_names_a_place_on_one_machine() {
        check(no_machine_paths, |tree| tree.with("docs/planted.md", concat!("see /ho", "me/someone/file\n")));
    }

    fn no_machine_paths(tree: &Tree) -> Vec<String> {
        const PLACES: &[&str] =
            &[concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
        let found = tree.files.iter().flat_map(|(path, text)| {
            // A place is absolute: a slash behind a name belongs to a longer relative path.
            let names = move |place: &&&str| {
                text.match_indices(**place)
                    .any(|(at, _)| !text[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}".contains(c)))
            };
            PLACES.iter().filter(names).map(move |place| format!("{path} names {place}"))
        });
        found.collect()
    }

    #[test]
    fn links_in_the_documentation_resolve() {
        check(links_resolve, |tree| tree.with("docs/planted.md", "[gone](nowhere.md)\n"));
    }

    fn links_resolve(tree: &Tree) -> Vec<String> {
        let mut violations = Vec::new();
        for (path, text) in tree.files.iter().filter(|(path, _)| path.ends_with(".md")) {
            for target in links(text) {
                let target = target.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                    continue;
                }
                let folder = Path::new(path).parent().unwrap_or(Path::new(""));
                let resolved = normal(&folder.join(target));
                let is_file = tree.files.contains_key(&resolved);
                let is_folder = tree.files.keys().any(|file| file.starts_with(&format!("{resolved}/")));
                if !is_file && !is_folder {
                    violations.push(format!("{path} links to {target}, which does not exist"));
                }
            }
        }
        violations
    }

    /// What stands in the round brackets behind `]`, outside code blocks.
    fn links(markdown: &str) -> Vec<&str> {
        let mut in_code = false;
        let mut found = Vec::new();
        for line in markdown.lines() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            }
            if !in_code {
                found
                    .extend(line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target));
            }
        }
        found
    }

    /// The path without `.` and `..`, with forward slashes.
    fn normal(path: &Path) -> String {
        let mut parts: Vec<String> = Vec::new();
        for component in path.components() {
            match component {
                Component::ParentDir => drop(parts.pop()),
                Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
                _ => {}
            }
        }
        parts.join("/")
    }

    #[test]
    fn every_setting_is_documented_as_it_is() {
        write_if_asked("docs/config.md", &config_tables());
        check(settings_are_documented, |tree| {
            tree.changed("docs/config.md", |text| text.replace("CONDUIT_HTTP_PORT", "CONDUIT_PORT"))
        });
    }

    fn settings_are_documented(tree: &Tree) -> Vec<String> {
        tables_stand_in(tree, "docs/config.md", &config_tables())
    }

    fn config_tables() -> Vec<(String, String)> {
        let groups = Group::ALL.iter().map(|group| (format!("settings: {}", group.title()), markdown_table(*group)));
        let others = [("aliases", markdown_aliases()), ("reserved variables", markdown_reserved())];
        groups.chain(others.map(|(name, table)| (name.to_owned(), table))).collect()
    }

    #[test]
    fn every_error_code_is_documented_with_its_status_and_close_code() {
        write_if_asked("docs/protocol.md", &error_tables());
        check(errors_are_documented, |tree| {
            tree.changed("docs/protocol.md", |text| text.replace("| 429 | 1013 |", "| 500 | 1013 |"))
        });
    }

    fn errors_are_documented(tree: &Tree) -> Vec<String> {
        tables_stand_in(tree, "docs/protocol.md", &error_tables())
    }

    fn error_tables() -> Vec<(String, String)> {
        let mut table =
            String::from("| code | HTTP status | WebSocket close code | whose fault |\n|---|---|---|---|\n");
        for code in ErrorCode::ALL {
            let (text, status, close) = (code.code(), code.http_status(), code.close_code());
            table.push_str(&format!("| `{text}` | {status} | {close} | {:?} |\n", code.fault()));
        }
        vec![("errors".to_owned(), table)]
    }

    /// A table made from code stands between two marks; between them is nothing else.
    fn tables_stand_in(tree: &Tree, path: &str, tables: &[(String, String)]) -> Vec<String> {
        let wrong = |(name, table): &&(String, String)| !tree.text(path).contains(&marked(name, table));
        let advice = "run `UPDATE_DOCS=1 cargo test tidy`";
        tables
            .iter()
            .filter(wrong)
            .map(|(name, _)| format!("{path}: the table \"{name}\" is missing or old: {advice}"))
            .collect()
    }

    fn marked(name: &str, table: &str) -> String {
        format!("<!-- {name} (made from code) -->\n{table}<!-- end -->\n")
    }

    /// Rewrites what stands between the marks of each table, when the person who runs the test asks for it.
    fn write_if_asked(path: &str, tables: &[(String, String)]) {
        if std::env::var_os("UPDATE_DOCS").is_none() {
            return;
        }
        let mut text = fs::read_to_string(root().join(path)).expect("the document exists");
        for (name, table) in tables {
            let begin = format!("<!-- {name} (made from code) -->\n");
            let from = text.find(&begin).unwrap_or_else(|| panic!("{path} has no line {begin}"));
            let end = text[from..].find("<!-- end -->\n").expect("the table's end is marked") + from;
            text.replace_range(from..end + "<!-- end -->\n".len(), &marked(name, table));
        }
        fs::write(root().join(path), text).expect("the document is writable");
    }
}
