//! The report as a page: one HTML file without scripts or links, its plots as inline SVG.

use super::text::{duration_text, summary};
use super::{Report, TimePoint};
use hdrhistogram::Histogram;
use plotters::prelude::*;

const SIZE: (u32, u32) = (860, 320);
const COLORS: [RGBColor; 4] =
    [RGBColor(31, 95, 173), RGBColor(200, 80, 30), RGBColor(60, 140, 60), RGBColor(130, 70, 160)];

/// A named line of points.
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// The points, from left to right.
    pub points: Vec<(f64, f64)>,
}

/// What a plot's axes say.
pub struct Axes {
    /// Above the plot.
    pub title: String,
    /// Under the horizontal axis.
    pub x: String,
    /// Beside the vertical axis.
    pub y: String,
    /// How the horizontal axis prints its values.
    pub x_text: fn(f64) -> String,
    /// How the vertical axis prints its values.
    pub y_text: fn(f64) -> String,
}

/// The page of a run.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut plots = vec![rate_plot(&report.timeline), latency_plot(&report.timeline)];
    let latencies = &report.latencies;
    let lines: Vec<Line> = [("publish to delivery", &latencies.deliver), ("publish to answer", &latencies.accept)]
        .into_iter()
        .filter(|(_, histogram)| !histogram.is_empty())
        .map(|(name, histogram)| percentile_line(name, histogram))
        .collect();
    if !lines.is_empty() {
        plots.insert(0, plot(&percentile_axes(), &lines));
    }
    let verdict = if report.verdict.passed { "passed" } else { "FAILED" };
    document(&format!("Load test: {verdict}"), &summary(report), &plots)
}

/// A whole HTML document.
#[must_use]
pub fn document(title: &str, text: &str, plots: &[String]) -> String {
    let (title, text) = (escaped(title), escaped(text));
    let style = "body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}\
                 pre{background:#f4f4f4;padding:1em;overflow-x:auto;font-size:13px}svg{max-width:100%;height:auto}";
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title><style>{style}</style></head>\n\
         <body><h1>{title}</h1>\n<pre>{text}</pre>\n{}\n</body></html>\n",
        plots.join("\n")
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn percentile_axes() -> Axes {
    Axes {
        title: "Latency by percentile".into(),
        x: "percentile".into(),
        y: "latency".into(),
        x_text: |nines| format!("{}", Percentile(nines)),
        y_text: |us| duration_text((us * 1e3) as u64),
    }
}

/// The horizontal axis of the percentile plot counts nines: 1 is 90 %, 2 is 99 %.
struct Percentile(f64);

impl std::fmt::Display for Percentile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = 100.0 - 100.0 / 10f64.powf(self.0);
        let digits = (self.0 - 1.0).max(0.0).floor() as usize;
        write!(f, "{percent:.digits$} %")
    }
}

fn percentile_line(name: &str, histogram: &Histogram<u64>) -> Line {
    let points = histogram
        .iter_quantiles(10)
        .filter(|step| step.quantile_iterated_to() < 1.0)
        .map(|step| (-(1.0 - step.quantile_iterated_to()).log10(), step.value_iterated_to() as f64 / 1e3))
        .collect();
    Line { name: name.into(), points }
}

fn rate_plot(timeline: &[TimePoint]) -> String {
    type Pick = fn(&TimePoint) -> u64;
    let picks: [(&str, Pick); 3] = [
        ("published", |point| point.published),
        ("delivered", |point| point.delivered),
        ("backpressure", |point| point.backpressure),
    ];
    let lines: Vec<Line> = picks
        .into_iter()
        .filter(|(_, pick)| timeline.iter().any(|point| pick(point) > 0))
        .map(|(name, pick)| over_time(name, timeline, |point| pick(point) as f64))
        .collect();
    plot(&time_axes("Messages per second", "messages", super::text::count_text), &lines)
}

fn latency_plot(timeline: &[TimePoint]) -> String {
    // Outside the measured window no latencies are recorded.
    let measured: Vec<TimePoint> = timeline.iter().copied().filter(|point| point.p99_ns > 0).collect();
    let lines = [
        over_time("p50", &measured, |point| point.p50_ns as f64),
        over_time("p99", &measured, |point| point.p99_ns as f64),
    ];
    plot(&time_axes("Latency over time", "latency", |ns| duration_text(ns as u64)), &lines)
}

fn time_axes(title: &str, y: &str, y_text: fn(f64) -> String) -> Axes {
    Axes {
        title: title.into(),
        x: "seconds since the run began".into(),
        y: y.into(),
        x_text: |x| format!("{x:.0}"),
        y_text,
    }
}

fn over_time(name: &str, timeline: &[TimePoint], pick: impl Fn(&TimePoint) -> f64) -> Line {
    Line { name: name.into(), points: timeline.iter().map(|point| (point.second as f64, pick(point))).collect() }
}

/// One plot as SVG. Where nothing can be drawn, a sentence says so.
#[must_use]
pub fn plot(axes: &Axes, lines: &[Line]) -> String {
    let mut svg = String::new();
    match draw(axes, lines, &mut svg) {
        Ok(()) => svg,
        Err(error) => format!("<p>{}: not drawn: {}</p>", escaped(&axes.title), escaped(&error)),
    }
}

fn draw(axes: &Axes, lines: &[Line], svg: &mut String) -> Result<(), String> {
    let xs = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0));
    let (left, right) = xs.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
    let ys = lines.iter().flat_map(|line| line.points.iter().map(|point| point.1));
    let top = ys.fold(0.0f64, f64::max);
    if left > right {
        return Err("there are no points".into());
    }
    let right = if right > left { right } else { left + 1.0 };
    let top = if top > 0.0 { top * 1.08 } else { 1.0 };
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let text = |error: &dyn std::error::Error| error.to_string();
    area.fill(&WHITE).map_err(|error| text(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&axes.title, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(80)
        .build_cartesian_2d(left..right, 0.0..top)
        .map_err(|error| text(&error))?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(240, 240, 240))
        .bold_line_style(RGBColor(215, 215, 215))
        .x_desc(&axes.x)
        .y_desc(&axes.y)
        .x_label_formatter(&|x| (axes.x_text)(*x))
        .y_label_formatter(&|y| (axes.y_text)(*y))
        .draw()
        .map_err(|error| text(&error))?;
    for (line, color) in lines.iter().zip(COLORS.iter().cycle()) {
        let series = LineSeries::new(line.points.iter().copied(), color.stroke_width(2)).point_size(2);
        chart
            .draw_series(series)
            .map_err(|error| text(&error))?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(200, 200, 200))
        .draw()
        .map_err(|error| text(&error))?;
    area.present().map_err(|error| text(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_is_svg_and_names_its_lines() {
        let line = Line { name: "a<b".into(), points: vec![(0.0, 1.0), (1.0, 2.0)] };
        let svg = plot(&time_axes("t", "y", super::super::text::count_text), &[line]);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        assert!(svg.contains("a&lt;b"));
    }

    #[test]
    fn nothing_to_draw_is_said_and_one_point_is_drawn() {
        let axes = time_axes("t", "y", super::super::text::count_text);
        assert!(plot(&axes, &[]).contains("no points"));
        assert!(plot(&axes, &[Line { name: "one".into(), points: vec![(3.0, 0.0)] }]).starts_with("<svg"));
    }

    #[test]
    fn percentiles_are_labelled_by_their_nines() {
        assert_eq!(Percentile(0.0).to_string(), "0 %");
        assert_eq!(Percentile(1.0).to_string(), "90 %");
        assert_eq!(Percentile(3.0).to_string(), "99.90 %");
    }
}
