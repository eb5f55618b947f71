package config_test

import (
	"errors"
	"testing"

	"github.com/ctwarden/ctwarden/internal/config"
)

func TestWhereMetricsMayBe(t *testing.T) {
	for text, ok := range map[string]bool{
		`metrics: {listen: "127.0.0.1:9871"}`:                  true,
		`metrics: {listen: "[::1]:9871"}`:                      true,
		`metrics: {listen: ""}`:                                true,
		`metrics: {listen: "localhost:9871"}`:                  false,
		`metrics: {listen: ":9871"}`:                           false,
		`metrics: {listen: "127.0.0.1:0"}`:                     false,
		`metrics: {listen: "127.0.0.1"}`:                       false,
		`metrics: {web_config: /etc/ctwarden/web.yaml}`:        true,
		`metrics: {web_config: ""}`:                            true,
		`metrics: {web_config: web.yaml}`:                      false,
		"metrics: {web_config: /x.prom, textfile: /x.prom}":    false,
		`metrics: {textfile: /var/lib/x/ct.prom}`:              true,
		`metrics: {textfile: ""}`:                              true,
		`metrics: {textfile: /var/lib/x/ct.txt}`:               false,
		`metrics: {textfile: ct.prom}`:                         false,
		`metrics: {textfile: /var/../ct.prom}`:                 false,
		"audit: {path: /x.prom}\nmetrics: {textfile: /x.prom}": false,
	} {
		_, err := config.Load(config.Source{Path: write(t, text+"\n"), Explicit: true})
		var problems config.Problems
		if ok != (err == nil) || err != nil && !errors.As(err, &problems) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
