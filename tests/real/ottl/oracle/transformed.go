package main

import (
	"context"
	"encoding/json"

	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/transformprocessor"
)

var keys = map[string]string{"logs": "log_statements", "metrics": "metric_statements", "traces": "trace_statements"}

// transformed is what the whole processor makes of a request with these statements, which propagate what fails.
func transformed(signal, list string, body []byte) any {
	var statements []any
	if err := json.Unmarshal([]byte(list), &statements); err != nil {
		panic(err)
	}
	factory := transformprocessor.NewFactory()
	config := factory.CreateDefaultConfig()
	written := confmap.NewFromStringMap(map[string]any{"error_mode": "propagate", keys[signal]: statements})
	if err := written.Unmarshal(config); err != nil {
		return "refused"
	}
	if validated, ok := config.(interface{ Validate() error }); ok && validated.Validate() != nil {
		return "refused"
	}
	ctx, set := context.Background(), processortest.NewNopSettings(factory.Type())
	switch signal {
	case "logs":
		request, err := (&plog.JSONUnmarshaler{}).UnmarshalLogs(body)
		if err != nil {
			panic(err)
		}
		next, _ := consumer.NewLogs(func(context.Context, plog.Logs) error { return nil })
		processor, err := factory.CreateLogs(ctx, set, config, next)
		if err != nil {
			return "refused"
		}
		failure := processor.ConsumeLogs(ctx, request)
		return left(func() ([]byte, error) { return (&plog.JSONMarshaler{}).MarshalLogs(request) }, failure)
	case "metrics":
		request, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(body)
		if err != nil {
			panic(err)
		}
		next, _ := consumer.NewMetrics(func(context.Context, pmetric.Metrics) error { return nil })
		processor, err := factory.CreateMetrics(ctx, set, config, next)
		if err != nil {
			return "refused"
		}
		failure := processor.ConsumeMetrics(ctx, request)
		return left(func() ([]byte, error) { return (&pmetric.JSONMarshaler{}).MarshalMetrics(request) }, failure)
	default:
		request, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			panic(err)
		}
		next, _ := consumer.NewTraces(func(context.Context, ptrace.Traces) error { return nil })
		processor, err := factory.CreateTraces(ctx, set, config, next)
		if err != nil {
			return "refused"
		}
		failure := processor.ConsumeTraces(ctx, request)
		return left(func() ([]byte, error) { return (&ptrace.JSONMarshaler{}).MarshalTraces(request) }, failure)
	}
}
