package server

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wattveil/wattveil/meter"
	"github.com/wattveil/wattveil/privacy/release"
	wattveilv1 "github.com/wattveil/wattveil/proto/wattveil/v1"
	"github.com/wattveil/wattveil/server/store"
)

// releaseService implements ReleaseService: what is public.
type releaseService struct {
	wattveilv1.UnimplementedReleaseServiceServer
	store *store.Store
	clock Clock

	catalogue release.Catalogue
}

// ListReleases lists published releases, newest day first.
func (r *releaseService) ListReleases(ctx context.Context, req *wattveilv1.ListReleasesRequest) (*wattveilv1.ListReleasesResponse, error) {
	size, err := page(req.GetPageSize(), req.GetPageToken())
	if err != nil {
		return nil, err
	}
	if req.GetProduct() != "" && !plain(req.GetProduct()) {
		return nil, badName("product")
	}
	releases, next, err := r.store.ListReleases(ctx, req.GetProduct(), req.GetPageToken(), size)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.ListReleasesResponse{NextPageToken: next}
	for _, p := range releases {
		resp.Releases = append(resp.Releases, &wattveilv1.ReleaseInfo{Id: p.ID, Product: p.Product, Day: p.Day.String(), LeafIndex: p.LeafIndex})
	}
	return resp, nil
}

// GetRelease returns one signed release with the opening of its leaf.
func (r *releaseService) GetRelease(ctx context.Context, req *wattveilv1.GetReleaseRequest) (*wattveilv1.GetReleaseResponse, error) {
	if !plain(req.GetId()) {
		return nil, badName("release")
	}
	p, err := r.store.PublishedRelease(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &wattveilv1.GetReleaseResponse{
		Body: string(p.Body), Signature: p.Signature, PublicKey: p.PublicKey, LeafIndex: p.LeafIndex, Payload: p.Payload, Nonce: p.Nonce[:],
	}, nil
}

// GetBudget says what has been spent of a year's cap.
func (r *releaseService) GetBudget(ctx context.Context, req *wattveilv1.GetBudgetRequest) (*wattveilv1.GetBudgetResponse, error) {
	year := int(req.GetYear())
	if year == 0 {
		year = r.clock().UTC().Year()
	}
	if year < 1970 || year > 9999 {
		return nil, invalid("bad_year", "the year is out of range")
	}
	charges, err := r.store.ChargesOf(ctx, year)
	if err != nil {
		return nil, err
	}
	resp := &wattveilv1.GetBudgetResponse{Year: int32(year), CapNanoRho: uint64(r.catalogue.YearlyCap), DailyCapNanoRho: uint64(r.catalogue.DailyCap)}
	products := map[string]*wattveilv1.ProductSpend{}
	charged := map[string]map[meter.Day]bool{}
	newYear, nextYear := store.NewYear(year), store.NewYear(year+1)
	for _, c := range charges {
		p := products[c.Product]
		if p == nil {
			p = &wattveilv1.ProductSpend{Product: c.Product}
			products[c.Product], charged[c.Product] = p, map[meter.Day]bool{}
		}
		for _, day := range c.Days {
			if newYear <= day && day < nextYear {
				charged[c.Product][day] = true
			}
		}
		resp.SpentNanoRho += uint64(c.Rho)
		p.SpentNanoRho += uint64(c.Rho)
		p.Days = uint32(len(charged[c.Product]))
		resp.Charges = append(resp.Charges, chargeToWire(c))
	}
	for _, name := range slices.Sorted(maps.Keys(products)) {
		resp.Products = append(resp.Products, products[name])
	}
	return resp, nil
}

// GetCatalogue says what is published, and what it costs.
func (r *releaseService) GetCatalogue(context.Context, *wattveilv1.GetCatalogueRequest) (*wattveilv1.GetCatalogueResponse, error) {
	c := r.catalogue
	year, day, err := c.Cost()
	if err != nil {
		return nil, fmt.Errorf("pricing the catalogue: %w", err)
	}
	resp := &wattveilv1.GetCatalogueResponse{
		Tariffs: c.Tariffs, YearlyCapNanoRho: uint64(c.YearlyCap), DailyCapNanoRho: uint64(c.DailyCap), Delta: c.Delta,
		WatermarkSeconds: int64(c.Watermark / time.Second), WorstYearNanoRho: uint64(year), WorstDayNanoRho: uint64(day),
	}
	for _, p := range c.Products {
		text, hash, err := p.Entry()
		if err != nil {
			return nil, err
		}
		resp.Entries = append(resp.Entries, &wattveilv1.CatalogueEntry{Product: p.Name, Entry: string(text), Sha256: hex.EncodeToString(hash[:])})
	}
	return resp, nil
}

func chargeToWire(c store.Charge) *wattveilv1.BudgetCharge {
	charge := &wattveilv1.BudgetCharge{
		Id: c.ID, Product: c.Product, Day: c.Window.String(), NanoRho: uint64(c.Rho), DayNanoRho: uint64(c.DayRho), LeafIndex: c.LeafIndex,
	}
	for _, day := range c.Days {
		charge.Days = append(charge.Days, day.String())
	}
	if c.Payload != nil {
		charge.Payload, charge.Nonce = c.Payload, c.Nonce[:]
	}
	return charge
}
