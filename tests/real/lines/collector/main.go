// A Collector of few stock components for what is measured and compared beside podgate's file_log: file_log and nop in, OTLP and nop out,
// file_storage. Called with the word `oracle` it answers questions instead, see asked.go.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/filelogreceiver"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/provider/fileprovider"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/nopexporter"
	"go.opentelemetry.io/collector/exporter/otlpexporter"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/otelcol"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/service/telemetry"
	"go.uber.org/zap"
)

func logger(context.Context, telemetry.LoggerSettings, component.Config) (*zap.Logger, component.ShutdownFunc, error) {
	made, err := zap.NewProduction()
	return made, nil, err
}

func components() (otelcol.Factories, error) {
	own := func() component.Config { return &struct{}{} }
	in, storage, out, nop := filelogreceiver.NewFactory(), filestorage.NewFactory(), otlpexporter.NewFactory(), nopexporter.NewFactory()
	return otelcol.Factories{
		Receivers:  map[component.Type]receiver.Factory{in.Type(): in},
		Exporters:  map[component.Type]exporter.Factory{out.Type(): out, nop.Type(): nop},
		Extensions: map[component.Type]extension.Factory{storage.Type(): storage},
		Telemetry:  telemetry.NewFactory(own, telemetry.WithCreateLogger(logger)),
	}, nil
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "oracle" {
		if err := answerAll(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	files := confmap.ResolverSettings{
		ProviderFactories: []confmap.ProviderFactory{fileprovider.NewFactory()}, DefaultScheme: "file",
	}
	command := otelcol.NewCommand(otelcol.CollectorSettings{
		BuildInfo:              component.BuildInfo{Command: "lines", Description: "a Collector beside podgate", Version: "0.161.0"},
		Factories:              components,
		ConfigProviderSettings: otelcol.ConfigProviderSettings{ResolverSettings: files},
	})
	if command.Execute() != nil {
		os.Exit(1)
	}
}
