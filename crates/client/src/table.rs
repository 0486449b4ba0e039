//! Tables as `cf` draws them: three spaces between columns, nothing after the last one.

use console::measure_text_width;

use crate::ui::Ui;

const GAP: usize = 3;

/// Rows of cells, plain text; styling happens while printing, so that widths stay right.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a bold first line.
    pub fn with_header(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// A table of names and values.
    pub fn of_pairs() -> Self {
        Self::default()
    }

    /// Adds a line.
    pub fn row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Adds a name with its value.
    pub fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.rows.push(vec![name.to_owned(), value.into()]);
    }

    /// Prints the table.
    pub fn print(&self, ui: &Ui) {
        let widths = self.widths();
        if !self.header.is_empty() {
            ui.line(&line(&self.header, &widths, |cell| ui.bold(cell)));
        }
        for row in &self.rows {
            ui.line(&line(row, &widths, str::to_owned));
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = Vec::new();
        for row in std::iter::once(&self.header).chain(&self.rows) {
            for (column, cell) in row.iter().enumerate() {
                let width = measure_text_width(cell);
                match widths.get_mut(column) {
                    Some(widest) => *widest = width.max(*widest),
                    None => widths.push(width),
                }
            }
        }
        widths
    }
}

fn line(cells: &[String], widths: &[usize], style: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        text.push_str(&if cell.is_empty() {
            String::new()
        } else {
            style(cell)
        });
        if column + 1 < cells.len() {
            text.extend(std::iter::repeat_n(' ', width + GAP - measure_text_width(cell)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::tests::captured;

    #[test]
    fn columns_line_up_and_the_last_is_not_padded() {
        let mut table = Table::with_header(&["name", "requested state", "routes"]);
        table.row(["shop", "started", "shop.example"]);
        table.row(["a-longer-name", "stopped", ""]);
        let text = captured(|ui| table.print(ui));
        assert_eq!(
            text,
            "name            requested state   routes\n\
             shop            started           shop.example\n\
             a-longer-name   stopped           \n"
        );
    }

    #[test]
    fn pairs_line_up() {
        let mut table = Table::of_pairs();
        table.pair("name:", "shop");
        table.pair("requested state:", "started");
        assert_eq!(
            captured(|ui| table.print(ui)),
            "name:              shop\nrequested state:   started\n"
        );
    }
}
