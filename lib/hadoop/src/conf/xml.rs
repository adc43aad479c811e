//! One Hadoop configuration file: XML text into properties and includes.

use quick_xml::XmlVersion;
use quick_xml::errors::Error as XmlError;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use quick_xml::reader::Reader;

/// Elements inside each other; configuration, property, value, and a few fallbacks of includes need less.
const MAX_DEPTH: usize = 32;

/// What a file holds, in its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Property {
        name: String,
        value: String,
        /// Later files can't change it.
        is_final: bool,
    },
    /// `<xi:include href="…">`
    Include {
        href: String,
        /// What holds when the file is missing; `None`: it must be there.
        fallback: Option<Vec<Item>>,
        line: usize,
    },
}

/// A place that is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

#[derive(Debug, Default)]
struct Property {
    name: Option<String>,
    value: Option<String>,
    is_final: bool,
}

/// What an open element means.
#[derive(Debug)]
enum Open {
    Configuration,
    Property(Property),
    /// A child of a property, with its name and the text so far.
    Field(String, String),
    Include {
        href: String,
        line: usize,
        fallback: Option<Vec<Item>>,
    },
    /// The items that its content makes.
    Fallback(Vec<Item>),
    /// Hadoop passes over elements that it does not know.
    Unknown,
}

/// Parses a file.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, Fault> {
    let mut reader = Reader::from_str(text);
    let mut parser = Parser::default();
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(text.len());
        let fault = |reason: String| Fault { line: line_at(text, at), reason };
        let event = match reader.read_event() {
            Ok(event) => event,
            Err(error) => {
                let at = usize::try_from(reader.error_position()).unwrap_or(at);
                return Err(Fault { line: line_at(text, at), reason: error.to_string() });
            }
        };
        match event {
            Event::Start(start) => parser.open(&start, || line_at(text, at)).map_err(fault)?,
            Event::Empty(start) => {
                parser.open(&start, || line_at(text, at)).map_err(fault)?;
                parser.close();
            }
            Event::End(_) => parser.close(),
            Event::Text(content) => parser.text(&content.xml10_content()),
            Event::CData(content) => parser.text(&content.xml10_content()),
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error: XmlError| fault(error.to_string()))?;
                match (character, resolve_predefined_entity(&reference)) {
                    (Some(character), _) => parser.text(character.encode_utf8(&mut [0; 4])),
                    (None, Some(entity)) => parser.text(entity),
                    (None, None) => {
                        let name: &str = &reference;
                        return Err(fault(format!("the entity &{name}; is not supported, write its text")));
                    }
                }
            }
            Event::Eof if !parser.stack.is_empty() => return Err(fault("the file ends inside an element".to_owned())),
            Event::Eof if !parser.seen_root => return Err(fault("there is no <configuration>".to_owned())),
            Event::Eof => return Ok(parser.items),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[derive(Default)]
struct Parser {
    stack: Vec<Open>,
    items: Vec<Item>,
    seen_root: bool,
}

impl Parser {
    fn open(&mut self, start: &BytesStart<'_>, line: impl FnOnce() -> usize) -> Result<(), String> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(format!("elements stand more than {MAX_DEPTH} deep in each other"));
        }
        let name = start.local_name();
        let name: &str = name.as_ref();
        let open = match (self.stack.last(), name) {
            (None, "configuration") if !self.seen_root => Open::Configuration,
            (None, _) => return Err("the outermost element must be one <configuration>".to_owned()),
            (Some(Open::Property(_)), field) => Open::Field(field.to_owned(), String::new()),
            (Some(Open::Include { .. }), "fallback") => Open::Fallback(Vec::new()),
            (Some(_), "property") => Open::Property(property_of_attributes(start)?),
            (Some(_), "include") => {
                let href = attribute(start, "href")?.ok_or("the include has no href")?;
                Open::Include { href, line: line(), fallback: None }
            }
            (Some(_), "configuration") => Open::Configuration,
            (Some(_), _) => Open::Unknown,
        };
        self.seen_root = true;
        self.stack.push(open);
        Ok(())
    }

    fn text(&mut self, text: &str) {
        if let Some(Open::Field(_, content)) = self.stack.last_mut() {
            content.push_str(text);
        }
    }

    fn close(&mut self) {
        match self.stack.pop() {
            Some(Open::Field(field, text)) => {
                if let Some(Open::Property(property)) = self.stack.last_mut() {
                    property.set(&field, text);
                }
            }
            // Without a name or a value it says nothing; Hadoop takes `<value></value>` for no value.
            Some(Open::Property(Property { name: Some(name), value: Some(value), is_final })) => {
                self.add(Item::Property { name, value, is_final });
            }
            Some(Open::Include { href, line, fallback }) => self.add(Item::Include { href, fallback, line }),
            Some(Open::Fallback(items)) => {
                if let Some(Open::Include { fallback, .. }) = self.stack.last_mut() {
                    *fallback = Some(items);
                }
            }
            Some(Open::Configuration | Open::Property(_) | Open::Unknown) | None => {}
        }
    }

    /// Adds to the innermost fallback, or to the file's items.
    fn add(&mut self, item: Item) {
        let fallback = self.stack.iter_mut().rev().find_map(|open| match open {
            Open::Fallback(items) => Some(items),
            _ => None,
        });
        fallback.unwrap_or(&mut self.items).push(item);
    }
}

impl Property {
    fn set(&mut self, field: &str, text: String) {
        match field {
            _ if text.is_empty() => {}
            "name" => self.name = Some(text.trim().to_owned()),
            "value" => self.value = Some(text),
            "final" => self.is_final = text.trim() == "true",
            _ => {}
        }
    }
}

/// `<property name="…" value="…" final="true"/>` is allowed, too.
fn property_of_attributes(start: &BytesStart<'_>) -> Result<Property, String> {
    let mut property = Property::default();
    for field in ["name", "value", "final"] {
        if let Some(text) = attribute(start, field)? {
            property.set(field, text);
        }
    }
    Ok(property)
}

fn attribute(start: &BytesStart<'_>, name: &str) -> Result<Option<String>, String> {
    let found = start.try_get_attribute(name).map_err(|error| error.to_string())?;
    let value = found.map(|attribute| attribute.normalized_value(XmlVersion::Implicit1_0)).transpose();
    value.map(|value| value.map(|text| text.into_owned())).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn property(name: &str, value: &str) -> Item {
        Item::Property { name: name.to_owned(), value: value.to_owned(), is_final: false }
    }

    #[test]
    fn properties_are_read_in_all_their_spellings() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?>
<?xml-stylesheet type="text/xsl" href="configuration.xsl"?>
<!DOCTYPE configuration>
<!-- <property><name>no</name><value>no</value></property> -->
<configuration xmlns:xi="http://www.w3.org/2001/XInclude">
  <property><name> a </name><value> x &amp; &#x79; </value><description>d <b>e</b></description></property>
  <property name="b" value="1 &lt; 2"/>
  <property><value><![CDATA[<c>]]></value><name>c</name></property>
  <property><name>empty</name><value></value></property>
  <property><name>f</name><value>1</value><final>true</final></property>
  <property><name>split</name><value>one<!-- two -->three</value></property>
</configuration>"#;
        let expected = [
            property("a", " x & y "),
            property("b", "1 < 2"),
            property("c", "<c>"),
            Item::Property { name: "f".to_owned(), value: "1".to_owned(), is_final: true },
            property("split", "onethree"),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn includes_carry_their_fallback() {
        let text = r#"<configuration>
<xi:include href="a.xml"/>
<xi:include href="b.xml"><xi:fallback><property><name>k</name><value>v</value></property></xi:fallback></xi:include>
<property><name>after</name><value>v</value></property></configuration>"#;
        let include = |href: &str, fallback, line| Item::Include { href: href.to_owned(), fallback, line };
        let expected =
            [include("a.xml", None, 2), include("b.xml", Some(vec![property("k", "v")]), 3), property("after", "v")];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let deep = format!("<configuration>{}", "<x>".repeat(1000));
        let cases = [
            ("", 1, "no <configuration>"),
            ("<other/>", 1, "outermost"),
            ("<configuration/><configuration/>", 1, "outermost"),
            ("<configuration>\n<property>\n</configuration>", 3, "property"),
            ("<configuration>\n<property>", 2, "ends inside"),
            ("<configuration>\n\n<xi:include/></configuration>", 3, "href"),
            ("<configuration>\n<property><name>&nope;</name></property></configuration>", 2, "&nope;"),
            ("<configuration>\n<property", 2, ""),
            (deep.as_str(), 1, "deep"),
        ];
        for (text, line, part) in cases {
            let fault = parse(text).unwrap_err();
            assert_eq!(fault.line, line, "{text}: {fault:?}");
            assert!(fault.reason.contains(part), "{text}: {fault:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,64}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_markup_panics(parts in prop::collection::vec(prop::sample::select(vec![
            "<configuration>", "</configuration>", "<property>", "</property>", "<name>", "</name>", "<value>", "</value>",
            "<property name='", "'/>", "<xi:include href='a'>", "</xi:include>", "<xi:fallback>", "</xi:fallback>", "<final>",
            "</final>", "<![CDATA[", "]]>", "<!--", "-->", "&amp;", "&#0;", "&#x110000;", "&", "<?xml", "?>", "<!DOCTYPE a [", "ß",
        ]), 0..24)) {
            let _ = parse(&parts.concat());
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z.]{1,12}", value in "[^\\x00-\\x1f\\x7f-\\x9f\\u{2028}<&]{1,12}") {
            let text = format!("<configuration><property><name>{name}</name><value>{value}</value></property></configuration>");
            prop_assert_eq!(parse(&text), Ok(vec![property(&name, &value)]));
        }
    }
}
