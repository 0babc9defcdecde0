// A Collector of three stock components, for what stands behind podgate in a test: OTLP in, the probabilistic sampler, OTLP out.
package main

import (
	"context"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/processor/probabilisticsamplerprocessor"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/otlphttpexporter"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.uber.org/zap"
)

// Everything that is logged, at each level and however often, because a test counts what the sampler says.
func logger(context.Context, telemetry.LoggerSettings, component.Config) (*zap.Logger, component.ShutdownFunc, error) {
	made, err := zap.NewDevelopment()
	return made, nil, err
}

func components() (otelcol.Factories, error) {
	own := func() component.Config { return &struct{}{} }
	in, sampler, out := otlpreceiver.NewFactory(), probabilisticsamplerprocessor.NewFactory(), otlphttpexporter.NewFactory()
	return otelcol.Factories{
		Receivers:  map[component.Type]receiver.Factory{in.Type(): in},
		Processors: map[component.Type]processor.Factory{sampler.Type(): sampler},
		Exporters:  map[component.Type]exporter.Factory{out.Type(): out},
		Telemetry:  telemetry.NewFactory(own, telemetry.WithCreateLogger(logger)),
	}, nil
}

func main() {
	files := confmap.ResolverSettings{
		ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()}, DefaultScheme: "file",
	}
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo:              component.BuildInfo{Command: "behind", Description: "a Collector behind podgate", Version: "0.165.0"},
		Factories:              components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: files},
	})
	if command.Execute() != nil {
		os.Exit(1)
	}
}
