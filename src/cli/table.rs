//! Tables with aligned columns, and lists of names and values.

use std::io;

use super::out::Out;

/// Columns between two cells.
const GAP: usize = 2;

/// On which side a column is flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Names and texts.
    Left,
    /// Numbers, so that their digits stand below one another.
    Right,
}

/// Rows of cells under headings. Written only when it is complete, since the
/// widest cell decides.
#[derive(Debug)]
pub struct Table {
    heads: Vec<(&'static str, Side)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new(heads: &[(&'static str, Side)]) -> Self {
        Self { heads: heads.to_vec(), rows: Vec::new() }
    }

    /// Adds a row: one cell for each column.
    ///
    /// # Panics
    /// When the number of cells is not the number of columns: a mistake in this program.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.heads.len(), "a row has one cell for each column");
        self.rows.push(cells);
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes headings and rows; nothing at all when there is no row.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, out: &mut Out) -> io::Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let widths: Vec<usize> = (0..self.heads.len()).map(|column| self.width(column)).collect();
        let heads = self.heads.iter().map(|(head, _)| (*head).to_owned()).collect::<Vec<_>>();
        let heading = out.heading(&self.aligned(&heads, &widths));
        out.line(heading)?;
        self.rows.iter().try_for_each(|row| out.line(self.aligned(row, &widths)))
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| columns(cell));
        cells.chain(self.heads.get(column).map(|(head, _)| columns(head))).max().unwrap_or(0)
    }

    fn aligned(&self, cells: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), (_, side)) in cells.iter().zip(widths).zip(&self.heads) {
            let fill = " ".repeat(width.saturating_sub(columns(cell)));
            match side {
                Side::Left => line.extend([cell, fill.as_str()]),
                Side::Right => line.extend([fill.as_str(), cell]),
            }
            line.push_str(&" ".repeat(GAP));
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// Names and values, one pair a line, the values below one another.
#[derive(Debug, Default)]
pub struct Facts {
    facts: Vec<(String, String)>,
}

impl Facts {
    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.facts.push((name.into(), value.into()));
    }

    /// Adds one if there is a value.
    pub fn add_some(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }

    /// Writes them.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, out: &mut Out) -> io::Result<()> {
        let width = self.facts.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
        for (name, value) in &self.facts {
            let fill = " ".repeat(width - columns(name) + GAP);
            let name = out.heading(name);
            out.line(format!("{name}{fill}{value}"))?;
        }
        Ok(())
    }
}

/// Columns that a text takes, counted in characters: right for all but wide scripts.
fn columns(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::super::tests::captured;
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let text = captured(|out| {
            let mut table =
                Table::new(&[("NAME", Side::Left), ("BACKLOG", Side::Right), ("KIND", Side::Left)]);
            table.row(vec!["α-long-name".into(), "7".into(), "queue".into()]);
            table.row(vec!["b".into(), "12,345,678".into(), "group".into()]);
            table.write(out)
        });
        assert_eq!(
            text,
            "NAME            BACKLOG  KIND\nα-long-name           7  queue\nb            12,345,678  group\n"
        );
    }

    #[test]
    fn an_empty_table_is_nothing() {
        assert_eq!(captured(|out| Table::new(&[("A", Side::Left)]).write(out)), "");
    }

    #[test]
    fn values_stand_below_one_another() {
        let text = captured(|out| {
            let mut facts = Facts::default();
            facts.add("name", "x");
            facts.add("subscriptions", "2");
            facts.add_some("absent", None);
            facts.write(out)
        });
        assert_eq!(text, "name           x\nsubscriptions  2\n");
    }
}
