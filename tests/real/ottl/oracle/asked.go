package main

import (
	"context"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottldatapoint"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottllog"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlmetric"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspan"
	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/ottl/contexts/ottlspanevent"
	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
)

// asker asks a text of one item. Kinds: v a value, c a condition, s a statement, u a statement whose paths do not say whose they
// are.
type asker struct {
	kind     string
	at       int
	text     string
	requests map[string][]byte
}

// scene is an item with the request it stands in.
type scene[K any] struct {
	item  K
	after func() ([]byte, error)
}

func (a asker) of(name string) any {
	switch name {
	case "log":
		options := []ottl.Option[*ottllog.TransformContext]{}
		if a.kind != "u" {
			options = append(options, ottllog.EnablePathContextNames())
		}
		parser, err := ottllog.NewParser(byName(transformprocessor.DefaultLogFunctions()), componenttest.NewNopTelemetrySettings(), options...)
		return asked(a, parser, err, a.log())
	case "span":
		parser, err := ottlspan.NewParser(byName(transformprocessor.DefaultSpanFunctions()), componenttest.NewNopTelemetrySettings(), ottlspan.EnablePathContextNames())
		return asked(a, parser, err, a.span())
	case "spanevent":
		parser, err := ottlspanevent.NewParser(byName(transformprocessor.DefaultSpanEventFunctions()), componenttest.NewNopTelemetrySettings(), ottlspanevent.EnablePathContextNames())
		return asked(a, parser, err, a.event())
	case "metric":
		parser, err := ottlmetric.NewParser(byName(transformprocessor.DefaultMetricFunctions()), componenttest.NewNopTelemetrySettings(), ottlmetric.EnablePathContextNames())
		return asked(a, parser, err, a.metric())
	default:
		parser, err := ottldatapoint.NewParser(byName(transformprocessor.DefaultDataPointFunctions()), componenttest.NewNopTelemetrySettings(), ottldatapoint.EnablePathContextNames())
		return asked(a, parser, err, a.point())
	}
}

func byName[K any](factories []ottl.Factory[K]) map[string]ottl.Factory[K] {
	return ottl.CreateFactoryMap(factories...)
}

func asked[K any](a asker, parser ottl.Parser[K], err error, of scene[K]) any {
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	switch a.kind {
	case "v":
		value, err := parser.ParseValueExpression(a.text)
		if err != nil {
			return "refused"
		}
		made, err := value.Eval(ctx, of.item)
		if err != nil {
			return "failed"
		}
		return typed(made)
	case "c":
		condition, err := parser.ParseCondition(a.text)
		if err != nil {
			return "refused"
		}
		truth, err := condition.Eval(ctx, of.item)
		if err != nil {
			return "failed"
		}
		return truth
	default:
		statement, err := parser.ParseStatement(a.text)
		if err != nil {
			return "refused"
		}
		_, _, failure := statement.Execute(ctx, of.item)
		return left(of.after, failure)
	}
}

// left is what a request became.
func left(after func() ([]byte, error), failure error) any {
	body, err := after()
	if err != nil {
		panic(err)
	}
	answer := map[string]any{"after": string(body)}
	if failure != nil {
		answer["failed"] = 1
	}
	return answer
}

func (a asker) log() scene[*ottllog.TransformContext] {
	logs, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(a.requests["logs"])
	if err != nil {
		panic(err)
	}
	group := logs.ResourceLogs().At(0)
	scope := group.ScopeLogs().At(0)
	after := func() ([]byte, error) { return (&plog.JSONMarshaler{}).MarshalLogs(logs) }
	return scene[*ottllog.TransformContext]{ottllog.NewTransformContext(group, scope, scope.LogRecords().At(a.at)), after}
}

func (a asker) traces() (ptrace.ResourceSpans, ptrace.ScopeSpans, ptrace.Span, func() ([]byte, error)) {
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(a.requests["traces"])
	if err != nil {
		panic(err)
	}
	group := traces.ResourceSpans().At(0)
	scope := group.ScopeSpans().At(0)
	return group, scope, scope.Spans().At(a.at), func() ([]byte, error) { return (&ptrace.JSONMarshaler{}).MarshalTraces(traces) }
}

func (a asker) span() scene[*ottlspan.TransformContext] {
	group, scope, span, after := a.traces()
	return scene[*ottlspan.TransformContext]{ottlspan.NewTransformContext(group, scope, span), after}
}

func (a asker) event() scene[*ottlspanevent.TransformContext] {
	group, scope, span, after := a.traces()
	return scene[*ottlspanevent.TransformContext]{ottlspanevent.NewTransformContext(group, scope, span, span.Events().At(0)), after}
}

func (a asker) metrics() (pmetric.ResourceMetrics, pmetric.ScopeMetrics, pmetric.Metric, func() ([]byte, error)) {
	metrics, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(a.requests["metrics"])
	if err != nil {
		panic(err)
	}
	group := metrics.ResourceMetrics().At(0)
	scope := group.ScopeMetrics().At(0)
	return group, scope, scope.Metrics().At(a.at), func() ([]byte, error) { return (&pmetric.JSONMarshaler{}).MarshalMetrics(metrics) }
}

func (a asker) metric() scene[*ottlmetric.TransformContext] {
	group, scope, metric, after := a.metrics()
	return scene[*ottlmetric.TransformContext]{ottlmetric.NewTransformContext(group, scope, metric), after}
}

func (a asker) point() scene[*ottldatapoint.TransformContext] {
	group, scope, metric, after := a.metrics()
	var point any
	switch metric.Type() {
	case pmetric.MetricTypeGauge:
		point = metric.Gauge().DataPoints().At(0)
	case pmetric.MetricTypeSum:
		point = metric.Sum().DataPoints().At(0)
	case pmetric.MetricTypeHistogram:
		point = metric.Histogram().DataPoints().At(0)
	case pmetric.MetricTypeExponentialHistogram:
		point = metric.ExponentialHistogram().DataPoints().At(0)
	case pmetric.MetricTypeSummary:
		point = metric.Summary().DataPoints().At(0)
	}
	return scene[*ottldatapoint.TransformContext]{ottldatapoint.NewTransformContext(group, scope, metric, point), after}
}
