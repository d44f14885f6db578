import { AnalyticsBrowser } from "@segment/analytics-next";

/** Segment's library, which learns from Raak where to send: nothing comes from Segment, or goes there. */
export function loadAnalytics(raakUrl: string, writeKey: string, visitorId: string) {
  const analytics = AnalyticsBrowser.load({ writeKey, cdnURL: raakUrl });
  analytics.setAnonymousId(visitorId);
  analytics.page();
  return {
    track: (event: string, properties: object) => analytics.track(event, properties),
    /** Who it is, with the claim by which the shop's server vouches for it. */
    identify: (userId: string, claim: string) => analytics.identify(userId, {}, { context: { raak: { claim } } }),
    forget: async (nextVisitorId: string) => {
      await analytics.reset();
      await analytics.setAnonymousId(nextVisitorId);
    },
  };
}
