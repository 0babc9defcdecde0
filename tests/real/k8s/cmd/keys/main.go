// Command keys writes what kube-apiserver needs to serve TLS and to sign tokens into the folder named by its argument:
// ca.crt, server.crt, server.key, client.crt, client.key, sa.key, sa.pub. It stands in for openssl, which a fresh machine need not have.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: keys FOLDER")
	}
	folder := os.Args[1]
	authority, authorityKey := template("testbed authority"), newKey()
	authority.IsCA, authority.BasicConstraintsValid = true, true
	authority.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	write(folder, "ca.crt", "CERTIFICATE", sign(authority, authority, authorityKey, authorityKey))

	server, serverKey := template("kube-apiserver"), newKey()
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames = []string{"localhost", "kubernetes.default.svc"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	write(folder, "server.crt", "CERTIFICATE", sign(server, authority, serverKey, authorityKey))
	writeKey(folder, "server.key", serverKey)

	client, clientKey := template("kube-apiserver-audit"), newKey()
	client.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	write(folder, "client.crt", "CERTIFICATE", sign(client, authority, clientKey, authorityKey))
	writeKey(folder, "client.key", clientKey)

	tokens, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	write(folder, "sa.key", "RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(tokens))
	public, err := x509.MarshalPKIXPublicKey(&tokens.PublicKey)
	check(err)
	write(folder, "sa.pub", "PUBLIC KEY", public)
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	check(err)
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(365 * 24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(err)
	return key
}

func sign(subject, authority *x509.Certificate, subjectKey, authorityKey *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, subject, authority, &subjectKey.PublicKey, authorityKey)
	check(err)
	return der
}

func writeKey(folder, name string, key *ecdsa.PrivateKey) {
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	write(folder, name, "PRIVATE KEY", encoded)
}

func write(folder, name, kind string, der []byte) {
	text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	check(os.WriteFile(filepath.Join(folder, name), text, 0o600))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
