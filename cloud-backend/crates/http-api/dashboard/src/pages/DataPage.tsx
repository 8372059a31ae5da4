import { getRouteApi } from "@tanstack/react-router";
import { ConfigurationTable } from "../components/ConfigurationTable";
import { GatewayTable } from "../components/GatewayTable";
import { LedgerTable } from "../components/LedgerTable";
import { PageHeading } from "../components/PageHeading";
import { t } from "../text";
import css from "./DataPage.module.css";

const route = getRouteApi("/$tenant/data");

export function DataPage() {
  const { tenant } = route.useParams();
  return (
    <>
      <PageHeading title={t.data.heading} />
      <section className={css["section"]}>
        <h2>{t.data.ledger}</h2>
        <p className={css["intro"]}>{t.data.ledgerIntro}</p>
        <LedgerTable tenant={tenant} />
      </section>
      <section className={css["section"]}>
        <h2>{t.data.gateways}</h2>
        <GatewayTable tenant={tenant} />
      </section>
      <section className={css["section"]}>
        <h2>{t.configuration.heading}</h2>
        <p className={css["intro"]}>{t.configuration.intro}</p>
        <ConfigurationTable tenant={tenant} />
      </section>
    </>
  );
}
