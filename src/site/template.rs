//! Templates: topics whose levels have names, texts that are put together from named parts, and patterns with `*`.
//!
//! Words: a *part* is a named text that a message carries (a level of its topic, a tag); a *topic template* names the
//! levels of a topic (`dc/{hall}/{rack}/{node}/telemetry`; `+` = any level, `#` or `{rest#}` = all that follow); a *text
//! template* puts parts together (`{rack}-{node}`).
//! Invariant: a text template without all its parts gives nothing rather than a text with a hole.

/// One level of a topic template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    One(Option<String>),
    Rest(Option<String>),
}

/// A topic whose levels have names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    levels: Vec<Level>,
}

impl TopicTemplate {
    /// Reads a template. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<TopicTemplate, String> {
        let texts: Vec<&str> = text.split('/').collect();
        let mut levels = Vec::with_capacity(texts.len());
        let mut names: Vec<&str> = Vec::new();
        for (i, level) in texts.iter().enumerate() {
            let name = level.strip_prefix('{').and_then(|l| l.strip_suffix('}'));
            levels.push(match (*level, name) {
                ("+", _) => Level::One(None),
                ("#", _) => Level::Rest(None),
                (_, Some(name)) => {
                    let (bare, rest) = name.strip_suffix('#').map_or((name, false), |n| (n, true));
                    if bare.is_empty() || bare.contains(['{', '}', '#', '+']) {
                        return Err(format!("{level:?} is no name; write {{name}}, or {{name#}} for all levels that follow"));
                    }
                    if names.contains(&bare) {
                        return Err(format!("names {{{bare}}} twice"));
                    }
                    names.push(bare);
                    if rest { Level::Rest(Some(bare.into())) } else { Level::One(Some(bare.into())) }
                }
                (literal, None) if literal.contains(['{', '}', '+', '#']) => {
                    return Err(format!("{literal:?}: a name, `+` or `#` must fill its level"));
                }
                (literal, None) => Level::Literal(literal.into()),
            });
            if matches!(levels.last(), Some(Level::Rest(_))) && i + 1 != texts.len() {
                return Err("`#` must come last".into());
            }
        }
        Ok(TopicTemplate { levels })
    }

    /// The names that the template gives.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.levels.iter().filter_map(|l| match l {
            Level::One(Some(n)) | Level::Rest(Some(n)) => Some(n.as_str()),
            _ => None,
        })
    }

    /// The named levels of a topic; `None` where the topic is another.
    pub fn parts<'s, 't>(&'s self, topic: &'t str) -> Option<Vec<(&'s str, &'t str)>> {
        let mut parts = Vec::with_capacity(self.levels.len());
        let mut rest = Some(topic);
        for level in &self.levels {
            let text = rest?;
            let (head, tail) = text.split_once('/').map_or((text, None), |(h, t)| (h, Some(t)));
            match level {
                Level::Literal(l) if *l == head => {}
                Level::Literal(_) => return None,
                Level::One(name) => parts.extend(name.as_deref().map(|n| (n, head))),
                Level::Rest(name) => {
                    parts.extend(name.as_deref().map(|n| (n, text)));
                    return Some(parts);
                }
            }
            rest = tail;
        }
        rest.is_none().then_some(parts)
    }
}

/// A piece of a text template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Part(String),
}

/// A text put together from parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextTemplate {
    pieces: Vec<Piece>,
}

impl TextTemplate {
    /// Reads a template. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<TextTemplate, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((literal, tail)) = rest.split_once('{') {
            let (name, after) = tail.split_once('}').ok_or_else(|| format!("{text:?}: a `{{` is not closed"))?;
            if name.is_empty() || name.contains('{') {
                return Err(format!("{text:?}: `{{{name}}}` is no name"));
            }
            if !literal.is_empty() {
                pieces.push(Piece::Literal(literal.into()));
            }
            pieces.push(Piece::Part(name.into()));
            rest = after;
        }
        if rest.contains('}') {
            return Err(format!("{text:?}: a `}}` without its `{{`"));
        }
        if !rest.is_empty() {
            pieces.push(Piece::Literal(rest.into()));
        }
        Ok(TextTemplate { pieces })
    }

    /// The parts that the text needs.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|p| match p {
            Piece::Part(n) => Some(n.as_str()),
            Piece::Literal(_) => None,
        })
    }

    /// The text; `None` where a part is missing.
    pub fn fill<'p>(&self, part: impl Fn(&str) -> Option<&'p str>) -> Option<String> {
        let mut out = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(l) => out.push_str(l),
                Piece::Part(n) => out.push_str(part(n)?),
            }
        }
        Some(out)
    }
}

/// Does a text match a pattern whose `*` stand for any text, also none?
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, mut pattern)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    while let Some((middle, rest)) = pattern.split_once('*') {
        let Some(at) = text.find(middle) else { return false };
        text = &text[at + middle.len()..];
        pattern = rest;
    }
    text.ends_with(pattern)
}

/// Does an MQTT topic filter mean a topic (MQTT 3.1.1 §4.7)? Wildcards in front do not mean topics that begin with `$`.
pub fn filter_matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut levels = topic.split('/');
    for want in filter.split('/') {
        match (want, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (want, Some(have)) if want == have => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_give_their_named_levels() {
        let t = TopicTemplate::parse("dc/{hall}/+/{node}/telemetry").unwrap();
        assert_eq!(t.parts("dc/h1/r07/n12/telemetry"), Some(vec![("hall", "h1"), ("node", "n12")]));
        assert_eq!(t.parts("dc/h1/r07/n12"), None);
        assert_eq!(t.parts("dc/h1/r07/n12/telemetry/x"), None);
        let t = TopicTemplate::parse("/{site}/{rest#}").unwrap();
        assert_eq!(t.parts("/a/b/c"), Some(vec![("site", "a"), ("rest", "b/c")]));
        assert!(TopicTemplate::parse("a/#").unwrap().parts("a/b/c").is_some());
        for bad in ["a/{}/b", "a/x{b}", "{a#}/b", "{a}/{a}", "a/b#"] {
            assert!(TopicTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts_are_whole_or_none() {
        let t = TextTemplate::parse("{rack}-{node}/x").unwrap();
        let parts = [("rack", "r1"), ("node", "n2")];
        let get = |n: &str| parts.iter().find(|(k, _)| *k == n).map(|(_, v)| *v);
        assert_eq!(t.fill(get).as_deref(), Some("r1-n2/x"));
        assert_eq!(TextTemplate::parse("{hall}").unwrap().fill(get), None);
        assert_eq!(t.names().collect::<Vec<_>>(), ["rack", "node"]);
        for bad in ["{a", "a}", "{}", "{a{b}}"] {
            assert!(TextTemplate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns_and_filters_match_as_they_should() {
        for (pattern, text, want) in [
            ("a*c", "abc", true),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("a*", "ba", false),
            ("gpu_*_power", "gpu_7_power", true),
            ("gpu_*_power", "gpu_power", false),
            ("abc", "abc", true),
            ("*.power", "cdu.power", true),
        ] {
            assert_eq!(glob(pattern, text), want, "{pattern} {text}");
        }
        for (filter, topic, want) in [
            ("dc/#", "dc/h1/x", true),
            ("dc/#", "dc", true),
            ("dc/+/x", "dc/h1/x", true),
            ("dc/+/x", "dc/h1/y", false),
            ("dc/+", "dc/h1/x", false),
            ("#", "$SYS/broker", false),
            ("/+/a", "/b/a", true),
        ] {
            assert_eq!(filter_matches(filter, topic), want, "{filter} {topic}");
        }
    }
}
