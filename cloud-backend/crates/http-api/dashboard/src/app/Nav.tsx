import { NavLink, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { activeAlarmsQuery, signOut } from "../api/queries";
import { zoneName } from "../lib/format";
import { t } from "../text";
import { useSession } from "./Gate";
import css from "./Nav.module.css";
import { setZone, useZone } from "./preferences";

interface NavProps {
  tenant: string;
  onNavigate: () => void;
}

export function Nav({ tenant, onNavigate }: NavProps) {
  const active = useQuery(activeAlarmsQuery(tenant)).data?.items.length ?? 0;
  const params = { tenant };
  // The count is abnormal news, so it is strong; without alarms there is nothing to see.
  const count = active > 0 && (
    <span className={css["count"]}>
      <span aria-hidden>{active}</span>
      <span className="visually-hidden">{t.shell.activeAlarms(active)}</span>
    </span>
  );
  return (
    <div className={css["nav"]}>
      <Link to="/$tenant" params={params} activeOptions={{ exact: true }} className={css["link"]} onClick={onNavigate}>
        {t.shell.fleet}
      </Link>
      <Link to="/$tenant/alarms" params={params} className={css["link"]} onClick={onNavigate}>
        {t.shell.alarms} {count}
      </Link>
      <Link to="/$tenant/data" params={params} className={css["link"]} onClick={onNavigate}>
        {t.shell.data}
      </Link>
      <div className={css["grow"]} />
      <Settings />
    </div>
  );
}

function Settings() {
  const session = useSession();
  const zone = useZone();
  const dark = useComputedColorScheme("light") === "dark";
  const { setColorScheme } = useMantineColorScheme();
  const leave = async () => {
    // Also when the backend is gone: a shared panel must not keep anything of this user, so the page starts anew.
    await signOut().catch(() => undefined);
    location.assign("/");
  };
  return (
    <div className={css["settings"]}>
      <p className={css["zone"]}>{t.shell.zone(zoneName(zone))}</p>
      <NavLink component="button" label={zone === "utc" ? t.shell.useLocal : t.shell.useUtc} onClick={() => setZone(zone === "utc" ? "local" : "utc")} />
      <NavLink component="button" label={dark ? t.shell.toLight : t.shell.toDark} onClick={() => setColorScheme(dark ? "light" : "dark")} />
      <NavLink component="button" label={t.shell.signOut} onClick={() => void leave()} />
      <p className={css["user"]}>
        {session.display_name}
        <br />
        <span className="dim">{t.role[session.role]}</span>
      </p>
    </div>
  );
}
