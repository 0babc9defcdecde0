//! Arguments of the editors of whole metrics.

use crate::ottl::check::fault;
use crate::ottl::checked::CheckedNode;
use crate::ottl::convert::ArgumentKind;
use crate::ottl::edit::editors::{
    AGGREGATIONS, Aggregation, Alike, BOUNDS_MAX, BucketMerge, Drawn, DrawnPart, Editor, MetricEdit, MetricMade,
    Spreading, limit_of,
};
use crate::ottl::statement::Arguments;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{LocatedTree, SyntaxTree};
use crate::ottl::value::OttlValue;

impl<'s> Arguments<'s> {
    /// The editor of a whole metric or of its points; `None` for others.
    pub(super) fn of_metric(&self) -> Result<Option<Editor>, TextFault> {
        let editor = match self.name {
            "convert_sum_to_gauge" => Editor::Metric(MetricEdit::SumToGauge),
            "convert_gauge_to_sum" => Editor::Metric(MetricEdit::GaugeToSum {
                temporality: self.temporality()?,
                monotonic: self.written_truth("monotonic")?,
            }),
            "scale_metric" => {
                let by = self.written_double("multiplier", "10.0")?;
                Editor::Metric(MetricEdit::Scale { by, unit: self.optional_text("unit")? })
            }
            "convert_exponential_histogram_to_histogram" => Editor::Metric(self.explicit()?),
            "aggregate_on_attributes" | "aggregate_on_attribute_value" => Editor::Metric(self.aggregate()?),
            "copy_metric" => Editor::Made(MetricMade::Copy {
                name: self.optional_text("name")?,
                description: self.optional_text("description")?,
                unit: self.optional_text("unit")?,
            }),
            "extract_count_metric" => self.drawn(DrawnPart::Count, None)?,
            "extract_sum_metric" => self.drawn(DrawnPart::Sum, None)?,
            "convert_summary_count_val_to_sum" => self.drawn(DrawnPart::Count, Some(self.temporality()?))?,
            "convert_summary_sum_val_to_sum" => self.drawn(DrawnPart::Sum, Some(self.temporality()?))?,
            "convert_summary_quantile_val_to_gauge" => Editor::Made(MetricMade::Quantiles {
                key: self.written_text("attributeKey", "quantile")?,
                suffix: self.written_text("suffix", ".quantiles")?,
            }),
            "extract_percentile_metric" => Editor::Made(self.percentile()?),
            "merge_histogram_buckets" => Editor::Buckets(self.buckets()?),
            _ => return Ok(None),
        };
        Ok(Some(editor))
    }

    fn temporality(&self) -> Result<u64, TextFault> {
        let spot = self.need("stringAggTemp")?;
        match self.text(spot)? {
            "delta" => Ok(1),
            "cumulative" => Ok(2),
            _ => fault(spot.at, "the temporality is \"delta\" or \"cumulative\""),
        }
    }

    fn written_truth(&self, parameter: &str) -> Result<bool, TextFault> {
        let spot = self.need(parameter)?;
        match spot.tree {
            SyntaxTree::Literal(Literal::Bool(truth)) => Ok(truth),
            _ => fault(spot.at, "expected true or false"),
        }
    }

    fn written_double(&self, parameter: &str, such_as: &str) -> Result<f64, TextFault> {
        let spot = self.need(parameter)?;
        match spot.tree {
            SyntaxTree::Literal(Literal::Float(number)) => Ok(number),
            _ => fault(spot.at, format!("`{parameter}` is a number with a dot, such as {such_as}")),
        }
    }

    /// A text that is written out, or what it is without.
    fn written_text(&self, parameter: &str, without: &str) -> Result<String, TextFault> {
        self.get(parameter).map_or(Ok(without), |spot| self.text(spot)).map(str::to_owned)
    }

    fn optional_text(&self, parameter: &str) -> Result<Option<CheckedNode>, TextFault> {
        self.get(parameter).map(|_| self.wanted(parameter, ArgumentKind::Text)).transpose()
    }

    fn texts_of(&self, spot: &'s LocatedTree) -> Result<Vec<String>, TextFault> {
        match &spot.tree {
            SyntaxTree::List(texts) => texts.iter().map(|text| self.text(text).map(str::to_owned)).collect(),
            _ => fault(spot.at, "this must be a list of strings such as [\"a\", \"b\"]"),
        }
    }

    fn drawn(&self, what: DrawnPart, temporality: Option<u64>) -> Result<Editor, TextFault> {
        let suffix = if what == DrawnPart::Count { "_count" } else { "_sum" };
        Ok(Editor::Made(MetricMade::Drawn(Drawn {
            what,
            temporality,
            monotonic: self.written_truth("monotonic")?,
            suffix: self.written_text("suffix", suffix)?,
        })))
    }

    fn percentile(&self) -> Result<MetricMade, TextFault> {
        let percent = self.written_double("percentile", "99.0")?;
        if percent <= 0.0 || percent >= 100.0 {
            return fault(self.need("percentile")?.at, "a percentile is above 0 and below 100");
        }
        let suffix = self.written_text("suffix", "")?;
        let suffix = if suffix.is_empty() { format!("_p{percent}") } else { suffix };
        Ok(MetricMade::Percentile { percent, suffix })
    }

    fn aggregate(&self) -> Result<MetricEdit, TextFault> {
        let spot = self.need("aggregationFunction")?;
        let name = self.text(spot)?;
        let known = AGGREGATIONS.iter().find(|(known, _)| *known == name);
        let Some((_, how)) = known.copied() else {
            let known: Vec<&str> = AGGREGATIONS.iter().map(|(name, _)| *name).collect();
            return fault(spot.at, format!("points are aggregated by {}, not by {name:?}", known.join(", ")));
        };
        let alike = if self.name == "aggregate_on_attributes" {
            Alike::Attributes(self.get("attributes").map(|spot| self.texts_of(spot)).transpose()?)
        } else {
            Alike::Value {
                attribute: self.text(self.need("attribute")?)?.to_owned(),
                values: self.texts_of(self.need("values")?)?,
                new: self.text(self.need("newValue")?)?.to_owned(),
            }
        };
        let how: Aggregation = how;
        Ok(MetricEdit::Aggregate { how, alike })
    }

    fn explicit(&self) -> Result<MetricEdit, TextFault> {
        let spot = self.need("distributionFn")?;
        let Some(how) = Spreading::named(self.text(spot)?) else {
            return fault(spot.at, "counts are spread \"upper\", \"midpoint\", \"uniform\" or \"random\"");
        };
        let listed = self.need("explicitBounds")?;
        let SyntaxTree::List(bounds) = &listed.tree else { return fault(listed.at, "the bounds must be a list") };
        if bounds.is_empty() || bounds.len() > BOUNDS_MAX {
            return fault(listed.at, format!("there are 1 to {BOUNDS_MAX} bounds"));
        }
        let bound = |spot: &LocatedTree| match spot.tree {
            SyntaxTree::Literal(Literal::Float(bound)) => Ok(bound),
            _ => fault(spot.at, "a bound is a number with a dot, such as 10.0"),
        };
        Ok(MetricEdit::Explicit { how, bounds: bounds.iter().map(bound).collect::<Result<_, _>>()? })
    }

    fn buckets(&self) -> Result<BucketMerge, TextFault> {
        let limit = match self.get("method").map(|spot| Ok::<_, TextFault>((spot, self.text(spot)?))).transpose()? {
            None | Some((_, "remove_explicit_bound")) => false,
            Some((_, "limit_buckets")) => true,
            Some((spot, _)) => return fault(spot.at, "the method is \"remove_explicit_bound\" or \"limit_buckets\""),
        };
        let target = self.wanted("targetValue", ArgumentKind::FloatLike)?;
        let at = self.need("targetValue")?.at;
        match target.literal().map(|literal| ArgumentKind::FloatLike.take(literal)) {
            Some(Ok(OttlValue::Float(number))) if limit => {
                limit_of(number).or_else(|failure| fault(at, failure.to_string()))?;
            }
            None | Some(Ok(OttlValue::Float(_))) => {}
            Some(_) => return fault(at, "the target is a number"),
        }
        Ok(BucketMerge { target, limit })
    }
}
