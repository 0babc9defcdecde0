package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// The SDKs' own variables: with a certificate authority a client speaks TLS, shows its certificate and sends the header. What
// lies below TLS cannot be counted then.
var (
	authority   = os.Getenv("OTEL_EXPORTER_OTLP_CERTIFICATE")
	certificate = os.Getenv("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE")
	key         = os.Getenv("OTEL_EXPORTER_OTLP_CLIENT_KEY")
)

// bearer is the value of the only header, which is percent-encoded as in W3C baggage.
func bearer() string {
	_, value, _ := strings.Cut(os.Getenv("OTEL_EXPORTER_OTLP_HEADERS"), "=")
	if plain, err := url.PathUnescape(value); err == nil {
		return plain
	}
	return value
}

type header struct{ value string }

func (h header) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": h.value}, nil
}

func (header) RequireTransportSecurity() bool { return true }

func secure() ([]grpc.DialOption, error) {
	pem, err := os.ReadFile(authority)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(pem)
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(certificate, key)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{pair}
	}
	options := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(config))}
	if value := bearer(); value != "" {
		options = append(options, grpc.WithPerRPCCredentials(header{value}))
	}
	return options, nil
}
