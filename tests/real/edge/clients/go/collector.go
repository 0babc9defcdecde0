package main

import (
	"context"
	"fmt"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configgrpc"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	metric "go.opentelemetry.io/otel/metric/noop"
	trace "go.opentelemetry.io/otel/trace/noop"
)

var (
	traceID      = [16]byte{0xed, 0x6e, 15: 1}
	middlewareID = component.MustNewID("wire")
)

// otlp is the Collector's exporter at its defaults (gzip among them), without queue and retry so that each answer is seen.
type otlp struct {
	exporter exporter.Traces
	traces   ptrace.Traces
}

func openCollector(to string, wire *wire) (sender, error) {
	factory := otlpexporter.NewFactory()
	config, ok := factory.CreateDefaultConfig().(*otlpexporter.Config)
	if !ok {
		return nil, fmt.Errorf("the exporter's configuration is %T", factory.CreateDefaultConfig())
	}
	config.ClientConfig.Endpoint = to
	config.ClientConfig.TLS.Insecure = authority == ""
	config.ClientConfig.Keepalive = configoptional.Some(configgrpc.KeepaliveClientConfig{
		Time: fastestKeepalive, Timeout: patience, PermitWithoutStream: true,
	})
	if authority == "" {
		config.ClientConfig.Middlewares = []configmiddleware.Config{{ID: middlewareID}}
	} else {
		config.ClientConfig.TLS.CAFile, config.ClientConfig.TLS.CertFile, config.ClientConfig.TLS.KeyFile = authority, certificate, key
		if value := bearer(); value != "" {
			config.ClientConfig.Headers.Set("authorization", configopaque.String(value))
		}
	}
	config.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
	config.RetryConfig.Enabled = false
	settings := exporter.Settings{
		ID: component.NewID(factory.Type()),
		TelemetrySettings: component.TelemetrySettings{
			Logger: zap.NewNop(), TracerProvider: trace.NewTracerProvider(), MeterProvider: metric.NewMeterProvider(),
			Resource: pcommon.NewResource(),
		},
		BuildInfo: component.NewDefaultBuildInfo(),
	}
	made, err := factory.CreateTraces(context.Background(), settings, config)
	if err != nil {
		return nil, err
	}
	return &otlp{made, traces()}, made.Start(context.Background(), host{wire})
}

func (o *otlp) send(ctx context.Context) error {
	return o.exporter.ConsumeTraces(ctx, o.traces)
}

func (o *otlp) close() {
	_ = o.exporter.Shutdown(context.Background())
}

// host has one extension, which puts the counting connection below the exporter.
type host struct{ wire *wire }

func (h host) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{middlewareID: middleware{h.wire}}
}

type middleware struct{ wire *wire }

func (middleware) Start(context.Context, component.Host) error { return nil }
func (middleware) Shutdown(context.Context) error              { return nil }

func (m middleware) GetGRPCClientOptions(context.Context) ([]grpc.DialOption, error) {
	return []grpc.DialOption{grpc.WithContextDialer(m.wire.dial)}, nil
}

var _ extensionmiddleware.GRPCClient = middleware{}

func traces() ptrace.Traces {
	made := ptrace.NewTraces()
	group := made.ResourceSpans().AppendEmpty()
	group.Resource().Attributes().PutStr("service.name", "shop")
	spans := group.ScopeSpans().AppendEmpty().Spans()
	for number := range spansPerRequest {
		span := spans.AppendEmpty()
		span.SetTraceID(traceID)
		span.SetSpanID([8]byte{1, 2, 3, 4, 5, 6, 7, byte(number + 1)})
		span.SetName("GET /")
		span.SetKind(ptrace.SpanKindServer)
		span.SetStartTimestamp(1)
		span.SetEndTimestamp(2)
	}
	return made
}
