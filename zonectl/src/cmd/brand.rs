//! `zonectl brand`

use zone_api::Brand;

use super::{Context, Done};
use crate::output::{Colour, Output, Table};

/// Show the brands here, and what they do
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  zonectl brand list
  zonectl brand show linux")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List the brands
    List,
    /// Show the table of a brand: which calls it answers, and why
    Show {
        /// Brand
        brand: String,
    },
}

pub(crate) fn run(args: &Args, context: &Context<'_>) -> Done {
    match &args.what {
        What::List => {
            let brands = context.client.brands()?;
            context.output.print(&brands, || list(&brands, context.output))?;
        }
        What::Show { brand } => {
            let brand = context.client.brand(brand)?;
            context.output.print(&brand, || show(&brand, context.output))?;
        }
    }
    Ok(0)
}

fn levels(brand: &Brand) -> String {
    brand.levels.as_ref().map_or_else(|| "-".to_owned(), |(low, high)| format!("{low}..{high}"))
}

fn list(brands: &[Brand], output: &Output) -> String {
    let mut table = Table::new(&["BRAND", "LEVELS", "SUMMARY"]);
    for brand in brands {
        table.row(
            [brand.name.clone(), levels(brand), brand.summary.clone()].map(|c| (c, Colour::Plain)).into(),
        );
    }
    table.render(output)
}

fn show(brand: &Brand, output: &Output) -> String {
    let mut text = format!("{}: {}\nlevels: {}\n", brand.name, brand.summary, levels(brand));
    if brand.rows.is_empty() {
        return text + "Its zones see the kernel as it is.\n";
    }
    let mut table = Table::new(&["CALL", "ABIS", "LEVELS", "ANSWER", "WHEN", "WHY"]);
    for row in &brand.rows {
        let gaps = row.gaps.as_ref().map(|g| format!(" (not covered: {g})")).unwrap_or_default();
        let or_none = |cell: &Option<String>| cell.clone().unwrap_or_else(|| "-".to_owned());
        let cells = [
            row.call.clone(),
            row.abis.join(","),
            or_none(&row.levels),
            row.answer.clone(),
            or_none(&row.when),
            format!("{}{gaps}", row.why),
        ];
        table.row(cells.map(|c| (c, Colour::Plain)).into());
    }
    text.push('\n');
    text + &table.render(output)
}
